/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/cow_pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pages.h"
#include "mm/page_scan.h"

#define ENTRIES 1024 /* read at once */

/* Bits of an entry (Documentation/admin-guide/mm/pagemap.rst). */
#define ENTRY_FILE    (UINT64_C(1) << 61)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_PRESENT (UINT64_C(1) << 63)

static bool is_private(uint64_t entry)
{
	return (entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) && !(entry & ENTRY_FILE);
}

bool private_pages_in(int pagemap_fd, uint64_t start, uint64_t end, uint64_t page_bytes)
{
	int told = page_scan_private(pagemap_fd, start, page_up(end, page_bytes));
	if (told >= 0)
		return told;
	uint64_t last = page_up(end, page_bytes) / page_bytes;
	for (uint64_t page = start / page_bytes; page < last;) {
		uint64_t entries[ENTRIES];
		uint64_t wanted = last - page;
		size_t bytes = (wanted < ENTRIES ? wanted : ENTRIES) * sizeof entries[0];
		ssize_t got = pread(pagemap_fd, entries, bytes, (off_t)(page * sizeof entries[0]));
		if (got < (ssize_t)sizeof entries[0])
			return true;
		for (ssize_t i = 0; i < got / (ssize_t)sizeof entries[0]; i++) {
			if (is_private(entries[i]))
				return true;
		}
		page += (uint64_t)got / sizeof entries[0];
	}
	return false;
}

bool private_pages_between(pid_t pid, uint64_t start, uint64_t end)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || private_pages_in(fd, start, end, host_pages()->base_bytes);
}

void private_pages_note(struct address_space *space, size_t map_index, pid_t pid)
{
	for (size_t i = 0; i < space->count; i++) {
		struct mapping *mapping = &space->mappings[i];
		if (mapping_same_file(mapping, &space->mappings[map_index]) && !(mapping->prot & PROT_WRITE))
			mapping->changed = private_pages_between(pid, mapping->start, mapping->end);
	}
}
