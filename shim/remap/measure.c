/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/private_copy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/retry.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/smaps.h"

#define SMAPS_LIMIT_BYTES (64 * MIB)

/* Whether TEXT has the line of a mapping at END_ADDR or above in or behind the line at FROM. */
static bool reaches(const char *text, size_t from, uint64_t end_addr)
{
	while (from > 0 && text[from - 1] != '\n')
		from--;
	for (const char *line = text + from; line; line = strchr(line, '\n')) {
		char *end;
		line += *line == '\n';
		uint64_t start = strtoull(line, &end, 16);
		if (*end == '-' && end > line && start >= end_addr)
			return true;
	}
	return false;
}

char *remap_read_smaps(pid_t pid, uint64_t end_addr)
{
	char path[64];
	size_t used = 0, room = 0;
	/* More would be made at once of mappings that may take long: the kernel fills a page and looks whether that is
	 * enough. */
	size_t chunk_bytes = host_pages()->base_bytes;
	char *text = NULL;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && used < SMAPS_LIMIT_BYTES) {
		if (room - used < chunk_bytes + 1) {
			room = room ? room * 2 : 8 * chunk_bytes;
			char *larger = realloc(text, room);
			if (!larger)
				break;
			text = larger;
		}
		ssize_t got = retry(read(fd, text + used, chunk_bytes));
		if (got < 0)
			break;
		text[used + (size_t)got] = '\0';
		size_t before = used;
		used += (size_t)got;
		if (got == 0 || reaches(text, before, end_addr))
			return text;
	}
	free(text);
	return NULL;
}

/* A file on tmpfs is memory to the kernel, too, and counted as that; but it is the file that is mapped, not a copy. */
static uint64_t copied_bytes_of(const struct smaps_entry *entry)
{
	static const char memfd[] = "/memfd:";
	bool is_memfd = strncmp(entry->path, memfd, sizeof memfd - 1) == 0;
	return (is_memfd ? entry->shmem_pmd_bytes : 0) + entry->anon_huge_bytes;
}

uint64_t remap_huge_bytes(const char *smaps, uint64_t start, uint64_t end, enum backing *how)
{
	uint64_t huge_bytes = 0;
	struct smaps_cursor cursor = smaps_cursor(smaps ? smaps : "");
	struct smaps_entry entry;
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.start < start || entry.end > end || entry.perms[2] != 'x')
			continue;
		uint64_t hugetlb_bytes = entry.private_hugetlb_bytes + entry.shared_hugetlb_bytes;
		uint64_t entry_bytes =
		    hugetlb_bytes + entry.shmem_pmd_bytes + entry.anon_huge_bytes + entry.file_pmd_bytes;
		huge_bytes += entry_bytes;
		if (how && entry_bytes > 0)
			*how = hugetlb_bytes ? BACKING_HUGETLB : copied_bytes_of(&entry) ? BACKING_THP : BACKING_FILE;
	}
	return huge_bytes;
}

uint64_t remap_copied_bytes(const char *smaps, uint64_t start, uint64_t end)
{
	uint64_t copied_bytes = 0;
	struct smaps_cursor cursor = smaps_cursor(smaps ? smaps : "");
	struct smaps_entry entry;
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.start >= start && entry.end <= end && entry.perms[2] == 'x')
			copied_bytes +=
			    entry.private_hugetlb_bytes + entry.shared_hugetlb_bytes + copied_bytes_of(&entry);
	}
	return copied_bytes;
}

int text_prot(pid_t pid, uint64_t start, uint64_t end)
{
	int prot = PROT_READ | PROT_EXEC;
	struct smaps_entry entry;
	if (!arch_guards_branches()) /* smaps take a while */
		return prot;
	cleanup_free char *smaps = remap_read_smaps(pid, end);
	struct smaps_cursor cursor = smaps_cursor(smaps ? smaps : "");
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.guarded && entry.start < end && entry.end > start)
			prot |= ARCH_PROT_GUARD;
	}
	return prot;
}
