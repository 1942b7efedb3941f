/* SPDX-License-Identifier: Apache-2.0 */
/*
 * touched.h - how many pages of text a program touches, estimated from samples of where it was. Pure.
 *
 * A thousand samples of a program that runs through 62 MiB see one page in sixteen. What was not seen is estimated from
 * what was seen once and twice (Chao, 1984: a lower bound), and how much of the time is spent in it by Good and Turing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Counts of samples a page; open addressing. Zero is an empty one. */
struct page_counts {
	struct page_count {
		uint64_t page;    /* object << 48 | page */
		uint32_t samples; /* 0: free */
	} * slots;
	size_t size, used; /* SIZE is a power of two, or 0 */
};

#define PAGE_OF(object, page) ((uint64_t)(object) << 48 | ((page) & ((UINT64_C(1) << 48) - 1)))
#define OBJECT_OF(page)       ((unsigned)((page) >> 48))

/* One sample more. Returns 0, or -1 if memory is short. */
int page_counts_add(struct page_counts *counts, uint64_t page);
void page_counts_free(struct page_counts *counts);

struct touched {
	uint64_t samples;
	uint64_t seen;       /* pages */
	double pages;        /* seen and not seen */
	double unseen_share; /* of the time, in pages that were not seen */
};

/* Of all pages, or of those of one OBJECT (-1: all). */
void touched_estimate(const struct page_counts *counts, int object, struct touched *out);

/* Which share of the time is spent outside of the ENTRIES hottest pages (all objects). 0 to 1; memory short: 0. */
double touched_beyond(const struct page_counts *counts, double entries);
