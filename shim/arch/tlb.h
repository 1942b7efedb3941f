/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlb.h - how many pages of machine code this processor's TLBs hold, and which counters tell what they miss.
 *
 * What can be told from values (of CPUID, of MIDR_EL1) is pure, and is there on every processor, for the tests.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tlb_sizes {
	char processor[64];
	unsigned first, first_huge; /* entries for instructions of a thread: 4 KiB pages, 2 MiB pages */
	unsigned second;            /* entries for 4 KiB pages in the level behind; 0: there is none */
	bool second_is_shared;      /* with data */
	enum tlb_source {
		TLB_FROM_PROCESSOR, /* it says so itself */
		TLB_FROM_TABLE,     /* by its model */
		TLB_ASSUMED,        /* neither is known: as small as those of current processors get */
	} source;
};

/* CPUID of a LEAF and SUBLEAF: EAX, EBX, ECX, EDX. Zeros if there is no such leaf. */
typedef void cpuid_reader(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

void tlb_from_cpuid(cpuid_reader *cpuid, struct tlb_sizes *out);
void tlb_from_midr(uint64_t midr, struct tlb_sizes *out);

/* Counters for perf_event_open(2), type and config; config 0: none. */
struct itlb_event {
	uint32_t type;
	uint64_t config;
};

struct itlb_events {
	struct itlb_event walks;       /* page walks for instructions */
	struct itlb_event walk_cycles; /* cycles with one under way */
	struct itlb_event first_miss;  /* that the second level has helped with */
};

void itlb_events_from_cpuid(cpuid_reader *cpuid, struct itlb_events *out);
void itlb_events_from_midr(uint64_t midr, struct itlb_events *out);

/* Of the processor that we run on. */
void arch_tlb_sizes(struct tlb_sizes *out);
void arch_itlb_events(struct itlb_events *out);
