/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlb - one set-associative TLB that replaces the entry that was used least recently.
 *
 * A key is the number of a page, shifted left by one, with the lowest bit set where the page has 2 MiB; so pages of
 * both sizes can lie in one TLB and never be taken for each other. The set is told by the low bits of the page's
 * number.
 *
 * Real processors approximate least recently used (trees, clocks, and nobody publishes which). Exact LRU is what they
 * all aim at, it favours no layout, and its results can be computed by hand.
 */
#ifndef ITLB_TLB_H
#define ITLB_TLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SMALL_PAGE_SHIFT 12
#define HUGE_PAGE_SHIFT  21
#define HUGE_PAGE        (1UL << HUGE_PAGE_SHIFT)

struct tlb_shape {
	unsigned entries;
	unsigned ways; /* as many as entries: fully associative. entries / ways is a power of two */
};

struct tlb {
	uint64_t *keys; /* set by set, in each the most recently used first; 0 is an empty entry */
	uint64_t set_mask;
	unsigned ways;
};

static inline uint64_t small_key(uint64_t address)
{
	return address >> SMALL_PAGE_SHIFT << 1;
}

static inline uint64_t huge_key(uint64_t address)
{
	return address >> HUGE_PAGE_SHIFT << 1 | 1;
}

static inline bool key_is_huge(uint64_t key)
{
	return key & 1;
}

/* A block of zeroes; ends the program where no memory is left: QEMU cannot go on without it. */
void *need(size_t size);

/* An empty TLB; ends the program where no memory is left. */
void tlb_init(struct tlb *tlb, struct tlb_shape shape);

void tlb_free(struct tlb *tlb);

/* Move KEY, which is at POSITION of its set or nowhere (POSITION is the last one then), to the front. */
static inline void tlb_to_front(uint64_t *set, unsigned position, uint64_t key)
{
	memmove(set + 1, set, position * sizeof *set);
	set[0] = key;
}

/* Look KEY up and have it in the TLB afterwards; false: it was not. */
static inline bool tlb_touch(struct tlb *tlb, uint64_t key)
{
	uint64_t *set = tlb->keys + (key >> 1 & tlb->set_mask) * tlb->ways;
	if (set[0] == key)
		return true;
	for (unsigned i = 1; i < tlb->ways; i++) {
		if (set[i] == key) {
			tlb_to_front(set, i, key);
			return true;
		}
	}
	tlb_to_front(set, tlb->ways - 1, key);
	return false;
}

#endif
