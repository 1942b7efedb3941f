/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the TLB hold 2 MiB pages as such: what timings say of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/huge_tlb.h"

#define COUNT 12

static struct tlb_opinion judge_same(struct tlb_round round)
{
	struct tlb_round rounds[COUNT];
	struct tlb_opinion opinion;
	for (int i = 0; i < COUNT; i++)
		rounds[i] = round;
	tlb_judge(rounds, COUNT, &opinion);
	return opinion;
}

/* few_small, many_small, few_huge, many_huge; the first four as seen on machines. */
static void judges(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		struct tlb_round round;
		enum tlb_verdict verdict;
	} cases[] = {
	    {"a guest on small pages", {1.22, 2.93, 1.22, 2.93}, TLB_SPLITS},
	    {"jumps of the same", {0.43, 3.10, 0.41, 3.06}, TLB_SPLITS},
	    {"bare metal", {1.22, 2.93, 1.22, 1.23}, TLB_HOLDS},
	    {"huge pages a bit dearer", {1.00, 3.00, 1.00, 1.60}, TLB_HOLDS},
	    {"half of it", {1.00, 3.00, 1.00, 2.00}, TLB_UNKNOWN},
	    {"no step at all", {1.00, 1.05, 1.00, 1.00}, TLB_UNKNOWN},
	    {"a step of noise", {0.20, 0.30, 0.20, 0.20}, TLB_UNKNOWN},
	    {"few pages dearer than many", {3.00, 1.00, 3.00, 1.00}, TLB_UNKNOWN},
	    {"no numbers", {0, 0, 0, 0}, TLB_UNKNOWN},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (judge_same(cases[i].round).verdict != cases[i].verdict)
			fail_msg("%s", cases[i].what);
	}
}

/* Somebody else ran in all rounds but one of each half, and each value was disturbed in another round. */
static void what_disturbs_is_left_out(void **state)
{
	(void)state;
	struct tlb_round rounds[COUNT];
	struct tlb_opinion opinion;
	for (int i = 0; i < COUNT; i++) {
		double by = i == 4 || i == 7 ? 1 : 1 + i % 5;
		rounds[i] = (struct tlb_round){1.2 * by, 2.9 * (6 - by), 1.2 * by, 1.2 * by};
	}
	rounds[0].many_small = rounds[1].many_small = 2.9;
	tlb_judge(rounds, COUNT, &opinion);
	assert_int_equal(opinion.verdict, TLB_HOLDS);
	assert_true(opinion.best.many_small < 2.91 && opinion.best.few_huge < 1.21);
}

static void halves_that_differ_are_noise(void **state)
{
	(void)state;
	struct tlb_round rounds[COUNT];
	struct tlb_opinion opinion;
	for (int i = 0; i < COUNT; i++)
		rounds[i] = (struct tlb_round){1.2, 2.9, 1.2, i % 2 ? 2.9 : 1.2};
	tlb_judge(rounds, COUNT, &opinion);
	assert_int_equal(opinion.verdict, TLB_UNKNOWN);
	tlb_judge(rounds, 1, &opinion);
	assert_int_equal(opinion.verdict, TLB_UNKNOWN);
	tlb_judge(rounds, 0, &opinion);
	assert_int_equal(opinion.verdict, TLB_UNKNOWN);
}

static void loads_and_jumps_together(void **state)
{
	(void)state;
	static const struct tlb_round split = {0.4, 3.1, 0.4, 3.0}, dearer = {0.4, 3.1, 0.4, 2.4};
	static const struct {
		enum tlb_verdict loads, jumps;
		const struct tlb_round *timed;
		enum tlb_verdict both;
	} cases[] = {
	    {TLB_HOLDS, TLB_HOLDS, &split, TLB_HOLDS},
	    {TLB_SPLITS, TLB_SPLITS, &split, TLB_SPLITS},
	    {TLB_UNKNOWN, TLB_HOLDS, &split, TLB_HOLDS},
	    {TLB_SPLITS, TLB_UNKNOWN, &split, TLB_SPLITS},
	    {TLB_HOLDS, TLB_UNKNOWN, &split, TLB_HOLDS},
	    {TLB_HOLDS, TLB_SPLITS, &split, TLB_SPLITS}, /* executable pages only: nx_huge_pages */
	    {TLB_HOLDS, TLB_SPLITS, &dearer, TLB_UNKNOWN},
	    {TLB_UNKNOWN, TLB_SPLITS, &split, TLB_UNKNOWN}, /* may be the branch predictor */
	    {TLB_UNKNOWN, TLB_UNKNOWN, &split, TLB_UNKNOWN},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct tlb_opinion loads = {.verdict = cases[i].loads};
		struct tlb_opinion jumps = {.verdict = cases[i].jumps, .best = *cases[i].timed};
		if (tlb_conclude(&loads, &jumps) != cases[i].both)
			fail_msg("case %zu", i);
	}
}

/* Timed here, on whatever this is: twice the same answer, or none. */
static void this_machine_does_not_contradict_itself(void **state)
{
	(void)state;
	struct huge_tlb one, other;
	huge_tlb_probe(&one);
	huge_tlb_probe(&other);
	if (one.verdict != TLB_UNKNOWN && other.verdict != TLB_UNKNOWN)
		assert_int_equal(one.verdict, other.verdict);
	print_message("%s\n", huge_tlb_text(&one));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(judges),
	    cmocka_unit_test(what_disturbs_is_left_out),
	    cmocka_unit_test(halves_that_differ_are_noise),
	    cmocka_unit_test(loads_and_jumps_together),
	    cmocka_unit_test(this_machine_does_not_contradict_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
