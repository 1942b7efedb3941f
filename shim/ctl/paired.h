/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paired.h - by how much the second of two things that were measured in pairs differs from the first, and how sure
 * that is. Pure.
 *
 * Whoever measures tosses a coin for each pair which of the two goes first. If nothing distinguishes them, the sign
 * of each pair's difference is then that coin's, whatever the machine did meanwhile: drift, bursts and heavy tails do
 * not matter, and the interval, which is the one that belongs to Wilcoxon's signed-rank test, misses 0 in at most
 * 1 - PAIRED_CONFIDENCE of all cases.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PAIRED_CONFIDENCE 0.99
#define PAIRED_MIN        8 /* pairs; fewer have no interval of that confidence */
#define PAIRED_MAX        500

/* What is not worth to be told: a change of less than one in a hundred. */
#define PAIRED_SMALL 0.01

/* Stands for any change from nothing to something. */
#define PAIRED_ENDLESS 1e9

/* Changes are relative: 0.03 is 3 % more. */
struct paired {
	size_t count;
	double first, second; /* medians, in the unit of what was given */
	double change;        /* of the second against the first: Hodges-Lehmann's estimate */
	bool has_interval;
	double low, high; /* if HAS_INTERVAL */
};

/*
 * COUNT pairs (1 to PAIRED_MAX) of values that are not negative. Returns 0, or -1 if memory is short or COUNT is out
 * of bounds.
 */
int paired_compare(const double *first, const double *second, size_t count, struct paired *out);

enum paired_verdict {
	PAIRED_LESS,    /* the second is less: the interval says so, and the change is not small */
	PAIRED_MORE,    /* likewise */
	PAIRED_SAME,    /* the whole interval is small */
	PAIRED_UNCLEAR, /* no difference that stands out from the noise */
	PAIRED_TOO_FEW,
};

enum paired_verdict paired_verdict(const struct paired *paired);

/* The median of COUNT (not 0) values, which are sorted for it. */
double paired_median(double *values, size_t count);
