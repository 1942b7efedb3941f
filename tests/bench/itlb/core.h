/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core - what one thread's fetches and data accesses do to the TLBs of every processor under every layout.
 *
 * Each thread has a core of its own, as if it never shared one. A fetch looks into the first level; where that misses,
 * into the second; where that misses too, the page tables are walked. Both levels have the page afterwards. Processors
 * with the same first level share its simulation. Data lies on 4 KiB pages in every layout, so its first level is
 * simulated once for all layouts; what it misses goes to each layout's second level where that is shared.
 *
 * Not simulated: speculation, prefetching, other processes, the kernel, the caches of upper page table levels.
 */
#ifndef ITLB_CORE_H
#define ITLB_CORE_H

#include "layouts.h"
#include "processors.h"

struct counts {
	uint64_t misses[PROCESSOR_COUNT][LAYOUT_COUNT]; /* of fetches in the first level */
	uint64_t walks[PROCESSOR_COUNT][LAYOUT_COUNT];  /* for fetches */
	uint64_t fetches;                               /* to another page than the one before */
	uint64_t accesses;                              /* of data, to another page than the one before */
};

struct core;

/* Empty TLBs; ends the program where no memory is left. */
struct core *core_new(void);

void core_free(struct core *core);

/* An instruction is fetched from a page; KEYS are what layout_keys() says of it, or all small_key() of anonymous code.
 */
void core_fetch(struct core *core, const uint64_t keys[LAYOUT_COUNT]);

/* ADDRESS is read or written. */
void core_data(struct core *core, uint64_t address, bool store);

/* Add what CORE has counted to SUM. */
void core_add_counts(const struct core *core, struct counts *sum);

#endif
