/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - how large pages are on this system. The one place that knows: nothing else has a number for them.
 *
 * Base pages are 4 KiB on x86-64, and 4, 16 or 64 KiB elsewhere. A huge page is what one entry of the next level of the
 * page tables maps: a base page full of entries, so 2 MiB, 32 MiB or 512 MiB.
 */
#pragma once

#include <stdint.h>

struct page_sizes {
	uint64_t base_bytes; /* a power of two, as the other */
	uint64_t huge_bytes; /* of transparent huge pages and of the page cache's huge folios */
	/*
	 * Of hugetlb pages by default: 2 MiB everywhere. With base pages of 16 and 64 KiB that is a run of entries that
	 * the processor may take as one (arm64's contiguous entries): of 32 or 512 MiB few programs have any.
	 */
	uint64_t hugetlb_bytes;
};

/* Of the system that we run on; asked for once, never NULL, and the same for the life of the process. */
const struct page_sizes *host_pages(void);

/* Pure: base pages of BASE_BYTES, and the huge pages that belong to them. */
struct page_sizes pages_of_base(uint64_t base_bytes);

/*
 * Write the sizes of the hugetlb pools that the kernel has, in bytes and ascending, into SIZES (room for MAX). Returns
 * their number; 0 if there is none, or it cannot be told.
 */
unsigned host_hugetlb_sizes(uint64_t *sizes, unsigned max);

/* Pure: VALUE rounded down or up to a multiple of PAGE_BYTES, a power of two. Rounding up wraps at the end of 64 bits.
 */
static inline uint64_t page_down(uint64_t value, uint64_t page_bytes)
{
	return value & ~(page_bytes - 1);
}

static inline uint64_t page_up(uint64_t value, uint64_t page_bytes)
{
	return page_down(value + page_bytes - 1, page_bytes);
}
