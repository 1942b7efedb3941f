/* SPDX-License-Identifier: Apache-2.0 */
/*
 * huge_tlb.h - does this machine's TLB hold 2 MiB pages as such? Found out by timing, in a few milliseconds and without
 * counters.
 *
 * In a virtual machine whose host backs it with small pages a huge page becomes 4 KiB entries in the TLB, and nothing
 * tells the guest. Some hosts (KVM with nx_huge_pages, for the iTLB multihit erratum) do so for executable pages only.
 * So as many steps, over as many cache lines, are timed within few pages and within many, on small pages and inside one
 * huge page: loads, and jumps. More pages cost more on small pages; inside a huge page only if it was split.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Nanoseconds a step. */
struct tlb_round {
	double few_small, many_small, few_huge, many_huge;
};

enum tlb_verdict {
	TLB_HOLDS,   /* a huge page is one entry */
	TLB_SPLITS,  /* it is as many as small pages would be */
	TLB_UNKNOWN, /* noise, or this processor hides what a miss costs */
};

struct tlb_opinion {
	enum tlb_verdict verdict;
	struct tlb_round best; /* the least of each */
};

/* What COUNT rounds say (2 or more; fewer say nothing). Pure. */
void tlb_judge(const struct tlb_round *rounds, size_t count, struct tlb_opinion *out);

/* What loads and jumps together say of text on huge pages. Pure. */
enum tlb_verdict tlb_conclude(const struct tlb_opinion *loads, const struct tlb_opinion *jumps);

struct huge_tlb {
	enum tlb_verdict verdict; /* of both */
	struct tlb_opinion loads, jumps;
	bool has_huge_page; /* to try with */
};

/* Time it here and now, for 10 ms or so and with 8 MiB of memory. */
void huge_tlb_probe(struct huge_tlb *out);

/* What that says of "the TLB", without a full stop, the same for every verb. */
const char *huge_tlb_text(const struct huge_tlb *tlb);
