/* SPDX-License-Identifier: Apache-2.0 */
#include "host/pages.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/auxv.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"

#define HUGE_FILE "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size" /* Linux 4.11 */
#define POOLS     "/sys/kernel/mm/hugepages"

#define HUGETLB_BYTES (2 * MIB)

#define ENTRY_BYTES sizeof(uint64_t) /* of a page table, on every 64-bit processor that Linux runs on */

struct page_sizes pages_of_base(uint64_t base_bytes)
{
	return (struct page_sizes){base_bytes, base_bytes / ENTRY_BYTES * base_bytes, HUGETLB_BYTES};
}

/* Without the kernel's word, as when /sys is not mounted or it has no transparent huge pages, the page tables' shape
 * tells. */
static struct page_sizes ask(void)
{
	struct page_sizes pages = pages_of_base(getauxval(AT_PAGESZ));
	uint64_t told = 0;
	if (read_number_file(HUGE_FILE, &told) == 0 && told > pages.base_bytes && (told & (told - 1)) == 0)
		pages.huge_bytes = told;
	return pages;
}

const struct page_sizes *host_pages(void)
{
	static struct page_sizes pages;
	if (!pages.base_bytes)
		pages = ask();
	return &pages;
}

unsigned host_hugetlb_sizes(uint64_t *sizes, unsigned max)
{
	cleanup_closedir DIR *pools = opendir(POOLS);
	unsigned count = 0;
	for (struct dirent *entry; pools && count < max && (entry = readdir(pools)) != NULL;) {
		uint64_t kib;
		if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) != 1 || kib > UINT64_MAX / KIB)
			continue;
		unsigned at = count++;
		for (; at > 0 && sizes[at - 1] > kib * KIB; at--)
			sizes[at] = sizes[at - 1];
		sizes[at] = kib * KIB;
	}
	return count;
}
