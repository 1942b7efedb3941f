/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/paired.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

double paired_median(double *values, size_t count)
{
	qsort(values, count, sizeof values[0], by_size);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The difference against the mean of both, which changes nothing but its sign when the two change places; and back. */
static double difference(double first, double second)
{
	double sum = first + second;
	return sum > 0 ? 2 * (second - first) / sum : 0;
}

static double to_change(double difference)
{
	return difference >= 2 ? PAIRED_ENDLESS : (2 + difference) / (2 - difference) - 1;
}

/*
 * How many of COUNT (COUNT + 1) / 2 sorted averages of two differences are left out at either end of the interval: the
 * most whose probability, by the distribution of the signed-rank statistic, is no more than half of what the confidence
 * leaves. -1: not even none.
 */
static long left_out(size_t count, double *chances)
{
	size_t most = count * (count + 1) / 2;
	double sum = 0;
	long result = -1;
	memset(chances, 0, (most + 1) * sizeof chances[0]);
	chances[0] = 1;
	for (size_t rank = 1; rank <= count; rank++) {
		for (size_t i = rank * (rank + 1) / 2 + 1; i-- > 0;)
			chances[i] = (chances[i] + (i >= rank ? chances[i - rank] : 0)) / 2;
	}
	for (size_t i = 0; i <= most && (sum += chances[i]) <= (1 - PAIRED_CONFIDENCE) / 2; i++)
		result = (long)i;
	return result;
}

static int median_of(const double *values, size_t count, double *out)
{
	cleanup_free double *sorted = malloc(count * sizeof sorted[0]);
	if (!sorted)
		return -1;
	memcpy(sorted, values, count * sizeof sorted[0]);
	*out = paired_median(sorted, count);
	return 0;
}

int paired_compare(const double *first, const double *second, size_t count, struct paired *out)
{
	*out = (struct paired){.count = count};
	if (count == 0 || count > PAIRED_MAX)
		return -1;
	size_t most = count * (count + 1) / 2, filled = 0;
	if (median_of(first, count, &out->first) < 0 || median_of(second, count, &out->second) < 0)
		return -1;
	cleanup_free double *averages = malloc((2 * most + 1) * sizeof averages[0]);
	if (!averages)
		return -1;
	double *chances = averages + most;
	for (size_t i = 0; i < count; i++) {
		for (size_t k = i; k < count; k++)
			averages[filled++] = (difference(first[i], second[i]) + difference(first[k], second[k])) / 2;
	}
	out->change = to_change(paired_median(averages, most));
	long skipped = left_out(count, chances);
	out->has_interval = skipped >= 0;
	if (out->has_interval) {
		out->low = to_change(averages[skipped]);
		out->high = to_change(averages[most - 1 - (size_t)skipped]);
	}
	return 0;
}

enum paired_verdict paired_verdict(const struct paired *paired)
{
	if (!paired->has_interval)
		return PAIRED_TOO_FEW;
	if (paired->high < 0 && paired->change <= -PAIRED_SMALL)
		return PAIRED_LESS;
	if (paired->low > 0 && paired->change >= PAIRED_SMALL)
		return PAIRED_MORE;
	if (paired->low > -PAIRED_SMALL && paired->high < PAIRED_SMALL)
		return PAIRED_SAME;
	return PAIRED_UNCLEAR;
}
