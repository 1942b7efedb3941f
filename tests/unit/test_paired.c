/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said of two things that were measured in pairs: right about a gain, and silent about noise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ctl/paired.h"

static bool is_near(double value, double wanted)
{
	return value > wanted - 1e-9 && value < wanted + 1e-9;
}

static struct paired compare(const double *first, const double *second, size_t count)
{
	struct paired paired;
	assert_int_equal(paired_compare(first, second, count, &paired), 0);
	return paired;
}

/* Tables of the signed-rank test: with 8 pairs the interval is from the least to the most, with 10 three less. */
static void the_interval_is_that_of_the_table(void **state)
{
	(void)state;
	double first[10], second[10];
	for (int i = 0; i < 10; i++) {
		first[i] = 100;
		second[i] = 100 + i;
	}
	struct paired paired = compare(first, second, 8);
	assert_true(paired.has_interval && is_near(paired.low, 0) && is_near(paired.high, 0.07));
	assert_true(is_near(paired.first, 100) && is_near(paired.second, 103.5));
	assert_false(compare(first, second, 7).has_interval);
	assert_int_equal(paired_verdict(&(struct paired){.count = 7}), PAIRED_TOO_FEW);
	/* 10 pairs at 99 %: W = 3, so the fourth average of two differences from either end: 0, .5, 1, 1 -> 1. */
	paired = compare(first, second, 10);
	assert_true(paired.low > 0.0099 && paired.low < 0.0101);
	assert_true(paired.high > 0.0799 && paired.high < 0.0801);
}

static void a_change_is_relative_to_the_first(void **state)
{
	(void)state;
	double first[12], second[12];
	for (int i = 0; i < 12; i++) {
		first[i] = 10 + i;
		second[i] = first[i] * 0.5;
	}
	struct paired paired = compare(first, second, 12);
	assert_true(is_near(paired.change, -0.5) && is_near(paired.low, -0.5) && is_near(paired.high, -0.5));
	assert_int_equal(paired_verdict(&paired), PAIRED_LESS);
	paired = compare(second, first, 12);
	assert_true(is_near(paired.change, 1));
	assert_int_equal(paired_verdict(&paired), PAIRED_MORE);
	double zeros[12] = {0};
	paired = compare(zeros, zeros, 12);
	assert_true(is_near(paired.change, 0));
	assert_int_equal(paired_verdict(&paired), PAIRED_SAME);
	assert_int_equal(
	    paired_verdict(&(struct paired){.has_interval = true, .change = -0.03, .low = -0.05, .high = 0.01}),
	    PAIRED_UNCLEAR);
	assert_int_equal(
	    paired_verdict(&(struct paired){.has_interval = true, .change = -0.004, .low = -0.006, .high = -0.002}),
	    PAIRED_SAME);
}

static void what_cannot_be_compared_is_refused(void **state)
{
	(void)state;
	static double many[PAIRED_MAX + 1];
	struct paired paired;
	assert_int_equal(paired_compare(many, many, 0, &paired), -1);
	assert_int_equal(paired_compare(many, many, PAIRED_MAX + 1, &paired), -1);
	assert_int_equal(paired_compare(many, many, PAIRED_MAX, &paired), 0);
}

/* A sequence of its own, the same everywhere: xorshift64. */
static uint64_t sequence;

static double chance(void)
{
	sequence ^= sequence << 13;
	sequence ^= sequence >> 7;
	sequence ^= sequence << 17;
	return (double)(sequence >> 11) / (double)(UINT64_C(1) << 53);
}

/*
 * A bad machine: each run takes 100 and up to 5 % more; one in ten is disturbed and takes up to three times as long; it
 * gets slower by 3 % a pair, and whatever runs first is 2 % slower. What FACTOR does to the second thing comes on top.
 */
static void measure(double *first, double *second, size_t count, double factor)
{
	for (size_t i = 0; i < count; i++) {
		double runs[2];
		for (int k = 0; k < 2; k++) {
			double drift = 1 + 0.03 * (double)i + (k == 0 ? 0.02 : 0);
			runs[k] = 100 * drift * (1 + 0.05 * chance());
			if (chance() < 0.1)
				runs[k] *= 1 + 2 * chance();
		}
		bool swapped = chance() < 0.5;
		first[i] = runs[swapped];
		second[i] = runs[!swapped] * factor;
	}
}

#define TRIALS 4000

/* Of TRIALS comparisons with COUNT pairs each, in how many a difference was claimed, and how many said LESS. */
static unsigned claimed(size_t count, double factor, unsigned *less)
{
	double first[64], second[64];
	unsigned claims = 0;
	*less = 0;
	sequence = 88172645463325252;
	for (unsigned i = 0; i < TRIALS; i++) {
		measure(first, second, count, factor);
		struct paired paired = compare(first, second, count);
		enum paired_verdict verdict = paired_verdict(&paired);
		claims += verdict == PAIRED_LESS || verdict == PAIRED_MORE;
		*less += verdict == PAIRED_LESS;
	}
	return claims;
}

/* At most 1 % by construction: 40 of 4,000, and three standard deviations for the luck of this sequence. */
static void two_of_the_same_are_not_told_apart(void **state)
{
	(void)state;
	static const size_t counts[] = {8, 12, 20, 40, 64};
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		unsigned less, claims = claimed(counts[i], 1, &less);
		if (claims > 40 + 19)
			fail_msg("%u of %u comparisons of the same, with %zu pairs, found a difference", claims, TRIALS,
			         counts[i]);
	}
}

static void a_gain_is_found_on_the_same_machine(void **state)
{
	(void)state;
	unsigned less, claims = claimed(40, 0.92, &less);
	assert_true(less > TRIALS * 9 / 10);
	assert_int_equal(claims, less);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_interval_is_that_of_the_table),   cmocka_unit_test(a_change_is_relative_to_the_first),
	    cmocka_unit_test(what_cannot_be_compared_is_refused),  cmocka_unit_test(two_of_the_same_are_not_told_apart),
	    cmocka_unit_test(a_gain_is_found_on_the_same_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
