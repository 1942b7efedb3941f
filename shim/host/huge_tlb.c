/* SPDX-License-Identifier: Apache-2.0 */
#include "host/huge_tlb.h"

/* Of the step that more pages cost on small pages: what a huge page may cost of it at most, and what it costs if split.
 */
#define HOLDS_SHARE  0.35
#define SPLITS_SHARE 0.65

/* A step that is smaller is not told from noise: a part of what a step costs anyway, and in nanoseconds. */
#define STEP_SHARE_MIN 0.2
#define STEP_MIN_NS    0.15

static void keep_least(double *least, double value)
{
	if (value < *least)
		*least = value;
}

/* The least of each, over every STRIDE-th round from FIRST on: what disturbs only ever adds. */
static struct tlb_round best_of(const struct tlb_round *rounds, size_t count, size_t first, size_t stride)
{
	struct tlb_round best = rounds[first];
	for (size_t i = first; i < count; i += stride) {
		keep_least(&best.few_small, rounds[i].few_small);
		keep_least(&best.many_small, rounds[i].many_small);
		keep_least(&best.few_huge, rounds[i].few_huge);
		keep_least(&best.many_huge, rounds[i].many_huge);
	}
	return best;
}

static enum tlb_verdict judge_one(const struct tlb_round *round)
{
	double step = round->many_small - round->few_small;
	double on_huge = round->many_huge - round->few_huge;
	if (!(step >= STEP_MIN_NS && step >= STEP_SHARE_MIN * round->few_small))
		return TLB_UNKNOWN;
	if (on_huge <= HOLDS_SHARE * step)
		return TLB_HOLDS;
	return on_huge >= SPLITS_SHARE * step ? TLB_SPLITS : TLB_UNKNOWN;
}

void tlb_judge(const struct tlb_round *rounds, size_t count, struct tlb_opinion *out)
{
	*out = (struct tlb_opinion){.verdict = TLB_UNKNOWN};
	if (count < 2)
		return;
	/* Two halves that do not agree are noise. */
	struct tlb_round even = best_of(rounds, count, 0, 2), odd = best_of(rounds, count, 1, 2);
	out->best = best_of(rounds, count, 0, 1);
	enum tlb_verdict verdict = judge_one(&out->best);
	if (judge_one(&even) == verdict && judge_one(&odd) == verdict)
		out->verdict = verdict;
}

enum tlb_verdict tlb_conclude(const struct tlb_opinion *loads, const struct tlb_opinion *jumps)
{
	/* Jumps cheaper inside a huge page than over small ones need a huge entry, whatever loads say. */
	if (jumps->verdict == TLB_HOLDS)
		return TLB_HOLDS;
	/* Loads that are split are split by whoever backs the memory, and that holds for text as well. */
	if (loads->verdict == TLB_SPLITS)
		return TLB_SPLITS;
	/*
	 * Only jumps seem split. That is what nx_huge_pages does; but branch predictors may tell far jumps from near
	 * ones too. So the claim wants the whole step.
	 */
	if (loads->verdict == TLB_HOLDS && jumps->verdict == TLB_SPLITS)
		return jumps->best.many_huge >= 0.9 * jumps->best.many_small ? TLB_SPLITS : TLB_UNKNOWN;
	/* If a miss of jumps costs nothing that can be seen, loads alone speak. */
	return loads->verdict;
}

const char *huge_tlb_text(const struct huge_tlb *tlb)
{
	if (tlb->verdict == TLB_HOLDS)
		return "it holds 2 MiB pages as such";
	if (tlb->verdict == TLB_UNKNOWN)
		return tlb->has_huge_page
		           ? "cannot tell whether it holds 2 MiB pages as such: timings are not clear on a busy machine"
		           : "cannot tell whether it holds 2 MiB pages as such: the kernel gives none to try with";
	return tlb->loads.verdict == TLB_SPLITS ? "this machine's does not profit: it splits 2 MiB pages into 4 KiB "
	                                          "entries; at most page walks get shorter"
	                                        : "this machine's does not profit: it splits 2 MiB pages with code "
	                                          "into 4 KiB entries; at most page walks "
	                                          "get shorter";
}
