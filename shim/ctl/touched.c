/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/touched.h"

#include <stdlib.h>

#include "base/cleanup.h"

#define FIRST_SIZE 1024

static struct page_count *find(const struct page_counts *counts, uint64_t page)
{
	size_t at = (size_t)(page * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (counts->size - 1);
	while (counts->slots[at].samples && counts->slots[at].page != page)
		at = (at + 1) & (counts->size - 1);
	return &counts->slots[at];
}

static int grow(struct page_counts *counts)
{
	struct page_counts larger = {.size = counts->size ? 2 * counts->size : FIRST_SIZE, .used = counts->used};
	larger.slots = calloc(larger.size, sizeof larger.slots[0]);
	if (!larger.slots)
		return -1;
	for (size_t i = 0; i < counts->size; i++) {
		if (counts->slots[i].samples)
			*find(&larger, counts->slots[i].page) = counts->slots[i];
	}
	free(counts->slots);
	*counts = larger;
	return 0;
}

int page_counts_add(struct page_counts *counts, uint64_t page)
{
	if (2 * counts->used >= counts->size && grow(counts) < 0)
		return -1;
	struct page_count *slot = find(counts, page);
	counts->used += slot->samples == 0;
	slot->page = page;
	if (slot->samples < UINT32_MAX)
		slot->samples++;
	return 0;
}

void page_counts_free(struct page_counts *counts)
{
	free(counts->slots);
	*counts = (struct page_counts){0};
}

void touched_estimate(const struct page_counts *counts, int object, struct touched *out)
{
	double once = 0, twice = 0;
	*out = (struct touched){0};
	for (size_t i = 0; i < counts->size; i++) {
		const struct page_count *slot = &counts->slots[i];
		if (!slot->samples || (object >= 0 && OBJECT_OF(slot->page) != (unsigned)object))
			continue;
		out->seen++;
		out->samples += slot->samples;
		once += slot->samples == 1;
		twice += slot->samples == 2;
	}
	/* The form of the estimate that is defined without a page seen twice, and is less biased. */
	out->pages = (double)out->seen + once * (once - 1) / (2 * (twice + 1));
	if (once < 1)
		out->pages = (double)out->seen;
	out->unseen_share = out->samples ? once / (double)out->samples : 0;
}

static int more_first(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	return (a < b) - (a > b);
}

double touched_beyond(const struct page_counts *counts, double entries)
{
	struct touched all;
	size_t count = 0;
	double inside = 0;
	touched_estimate(counts, -1, &all);
	if (all.pages <= entries || !all.samples)
		return 0;
	cleanup_free uint32_t *samples = malloc(counts->used * sizeof samples[0]);
	if (!samples)
		return 0;
	for (size_t i = 0; i < counts->size; i++) {
		if (counts->slots[i].samples)
			samples[count++] = counts->slots[i].samples;
	}
	qsort(samples, count, sizeof samples[0], more_first);
	/* What was seen has the rest of the time; what was not, is taken to be equally hot. */
	double scale = (1 - all.unseen_share) / (double)all.samples;
	for (size_t i = 0; i < count && (double)i < entries; i++)
		inside += scale * samples[i];
	if (entries > (double)count && all.pages > (double)count)
		inside += all.unseen_share * (entries - (double)count) / (all.pages - (double)count);
	return inside < 1 ? 1 - inside : 0;
}
