/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/page_scan.h"

#include <errno.h>
#include <sys/ioctl.h>

/* struct page_region and struct pm_scan_arg of linux/fs.h, which the headers of older kernels do not have. */
struct scanned_region {
	uint64_t start, end, categories;
};

struct scan {
	uint64_t size, flags, start, end, walk_end;
	uint64_t vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_PAGEMAP _IOWR('f', 16, struct scan)

/* PAGE_IS_FILE and so on: a page of a file or of shared memory, and one that a huge entry maps. */
#define IS_FILE    (UINT64_C(1) << 2)
#define IS_PRESENT (UINT64_C(1) << 3)
#define IS_SWAPPED (UINT64_C(1) << 4)
#define IS_HUGE    (UINT64_C(1) << 6)

#define REGIONS 16 /* told at once */

int64_t page_scan_huge_bytes(int pagemap_fd, uint64_t start, uint64_t end)
{
	struct scanned_region regions[REGIONS];
	int64_t bytes = 0;
	while (start < end) {
		struct scan scan = {.size = sizeof scan,
		                    .start = start,
		                    .end = end,
		                    .vec = (uintptr_t)regions,
		                    .vec_len = REGIONS,
		                    .category_mask = IS_PRESENT | IS_HUGE,
		                    .return_mask = IS_HUGE};
		int count = ioctl(pagemap_fd, SCAN_PAGEMAP, &scan);
		if (count < 0)
			return -1;
		for (int i = 0; i < count && i < REGIONS; i++)
			bytes += (int64_t)(regions[i].end - regions[i].start);
		if (scan.walk_end <= start) {
			errno = EIO;
			return -1;
		}
		start = scan.walk_end;
	}
	return bytes;
}

int page_scan_private(int pagemap_fd, uint64_t start, uint64_t end)
{
	struct scanned_region region;
	struct scan scan = {.size = sizeof scan,
	                    .start = start,
	                    .end = end,
	                    .vec = (uintptr_t)&region,
	                    .vec_len = 1,
	                    .max_pages = 1,
	                    .category_inverted = IS_FILE,
	                    .category_mask = IS_FILE,
	                    .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
	                    .return_mask = IS_FILE};
	int count = ioctl(pagemap_fd, SCAN_PAGEMAP, &scan);
	return count < 0 ? -1 : count > 0;
}
