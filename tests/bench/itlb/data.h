/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data - what a program's read-only data on huge pages does to TLBs for data.
 *
 *   plain   4 KiB
 *   ends    slots of 2 MiB that hold text, and besides only read-only bytes of the same file in step with it: what
 *           hugexec's "round_out" maps, and whole slots of text
 *   rodata  these, and whole slots of the program's read-only data: "rodata"
 *
 * All else (heap, stacks, libraries, data that is written to) is on 4 KiB pages. First level, second level and walks
 * are as in core.h, but nobody fetches: the second level has data alone.
 */
#ifndef ITLB_DATA_H
#define ITLB_DATA_H

#include <stdio.h>

#include "objects.h"

enum data_layout { DATA_PLAIN, DATA_ENDS, DATA_RODATA, DATA_LAYOUT_COUNT };

#define DATA_PROCESSOR_COUNT 3

struct data_counts {
	uint64_t misses[DATA_PROCESSOR_COUNT][DATA_LAYOUT_COUNT]; /* in the first level */
	uint64_t walks[DATA_PROCESSOR_COUNT][DATA_LAYOUT_COUNT];
	uint64_t accesses; /* to another page than the one before */
};

struct data_core;

/*
 * The first layout in which the page at the linked address ADDRESS of PROGRAM is a part of a huge one;
 * DATA_LAYOUT_COUNT: none.
 */
enum data_layout data_huge_from(const struct object *program, uint64_t address);

/* PROGRAM runs, and the byte that is linked to 0 is at BASE. Until then all pages have 4 KiB. Before any core looks. */
void data_begin(const struct object *program, uint64_t base);

/* Empty TLBs; ends the program if no memory is left. */
struct data_core *data_core_new(void);

void data_core_free(struct data_core *core);

/* ADDRESS of the guest's is read or written. */
void data_access(struct data_core *core, uint64_t address);

/* Add what CORE has counted to SUM. */
void data_add_counts(const struct data_core *core, struct data_counts *sum);

/* Members of a JSON object. */
void data_write(FILE *out, const struct data_counts *counts);

#endif
