/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/page_cache_blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/missing.h"
#include "base/size.h"
#include "mm/smaps.h"

#define SMAPS_LIMIT_BYTES (16 * MIB)
#define PAGEMAP_PRESENT   (UINT64_C(1) << 63)

/* Places are two slots apart, so that the kernel does not merge two mappings and smaps has an entry for each. */
#define STRIDE_SLOTS  2U
#define RESERVE_SLOTS (SLOTS_BATCH * STRIDE_SLOTS + 1)

/* Looked at together, they take half the system calls. */
#define LOOK_BATCH SLOTS_BATCH

int slots_of_ranges(const struct file_range *ranges, unsigned count, uint64_t file_bytes, uint64_t huge_bytes,
                    struct slot *list, struct error *err)
{
	unsigned found = 0;
	for (unsigned i = 0; i < count; i++) {
		uint64_t start = ranges[i].file_off, bytes = ranges[i].bytes;
		if (start % huge_bytes || bytes % huge_bytes || bytes / huge_bytes > PAGE_CACHE_SLOTS_MAX - found)
			return error_set(err, REASON_FILE_UNSUPPORTED,
			                 "more than %u slots of a huge page, or not whole ones", PAGE_CACHE_SLOTS_MAX);
		for (uint64_t at = 0; at < bytes; at += huge_bytes) {
			bool whole = start <= file_bytes && at + huge_bytes <= file_bytes - start;
			list[found++] = (struct slot){start + at, whole ? SLOT_SMALL : SLOT_SHORT};
		}
	}
	return found > 0 ? (int)found
	                 : error_set(err, REASON_FILE_UNSUPPORTED, "no whole slot of a huge page to look at");
}

static char *place(const struct slots *slots, unsigned number)
{
	return slots->window + number * STRIDE_SLOTS * slots->pages.huge_bytes;
}

/*
 * Map COUNT slots from INDEX on, which lie one behind the other in the file, at place NUMBER as text is mapped: if
 * the kernel maps that huge it will do so here. MADV_RANDOM, because a folio that was read ahead may be marked to set
 * off the next readahead when it is touched, and that fills the slot behind it with folios of other sizes
 * (mm/filemap.c, do_async_mmap_readahead()); seen on 6.18.
 */
static char *map_slots(const struct slots *slots, unsigned index, unsigned count, unsigned number)
{
	char *at = mmap(place(slots, number), count * slots->pages.huge_bytes, PROT_READ | PROT_EXEC,
	                MAP_PRIVATE | MAP_FIXED, slots->fd, (off_t)slots->list[index].file_off);
	if (at == MAP_FAILED)
		return NULL;
	madvise(at, count * slots->pages.huge_bytes, MADV_RANDOM);
	return at;
}

/* Whether FD may be mapped as text at all: not from a mount that says noexec, and not if a security module objects.
 */
static int check_executable(const struct slots *slots, struct error *err)
{
	if (slots->count > 0 && !map_slots(slots, 0, 1, 0))
		return error_set_errno(err, errno, REASON_FILE_UNSUPPORTED, "mapping it as text");
	return 0;
}

static void unmap_slots(const struct slots *slots, unsigned count, unsigned number)
{
	mmap(place(slots, number), count * slots->pages.huge_bytes, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/*
 * Whether the kernel tells us what is in the cache. To those who neither own the file nor may write to it mincore(2)
 * says that all of it is (mm/mincore.c, can_do_mincore(), Linux 5.2); so ask about a page behind the file's end. A
 * seccomp filter might kill us for asking: mincore is in none of systemd's groups of system calls.
 */
static bool sees_cache(const struct slots *slots, uint64_t file_bytes)
{
	unsigned char cached = 1;
	uint64_t behind = (file_bytes / slots->pages.huge_bytes + 2) * slots->pages.huge_bytes;
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0)
		return false;
	if (file_bytes > INT64_MAX / 2 || mmap(place(slots, 0), slots->pages.base_bytes, PROT_READ,
	                                       MAP_PRIVATE | MAP_FIXED, slots->fd, (off_t)behind) == MAP_FAILED)
		return false;
	int failed = mincore(place(slots, 0), slots->pages.base_bytes, &cached);
	unmap_slots(slots, 1, 0);
	return !failed && !(cached & 1);
}

int slots_open(struct slots *slots, int fd, struct slot *list, unsigned count, struct error *err)
{
	struct stat st;
	*slots = (struct slots){.fd = fd, .pages = *host_pages(), .pagemap_fd = -1, .list = list, .count = count};
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, REASON_FILE_UNSUPPORTED, "fstat");
	slots->reserve = mmap(NULL, RESERVE_SLOTS * slots->pages.huge_bytes, PROT_NONE,
	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slots->reserve == MAP_FAILED)
		return error_set_errno(err, errno, REASON_ADDRESS_SPACE_LIMIT, "no address space to look at the file");
	slots->window =
	    slots->reserve +
	    (slots->pages.huge_bytes - (uintptr_t)slots->reserve % slots->pages.huge_bytes) % slots->pages.huge_bytes;
	if (check_executable(slots, err) < 0)
		return -1;
	slots->sees_cache = sees_cache(slots, (uint64_t)st.st_size);
	slots_reopen(slots);
	return 0;
}

void slots_reopen(struct slots *slots)
{
	cleanup_close_p(&slots->pagemap_fd);
	slots->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void slots_close(struct slots *slots)
{
	cleanup_close_p(&slots->pagemap_fd);
	if (slots->reserve && slots->reserve != MAP_FAILED)
		munmap(slots->reserve, RESERVE_SLOTS * slots->pages.huge_bytes);
}

unsigned slots_count(const struct slots *slots, enum slot_state state)
{
	unsigned count = 0;
	for (unsigned i = 0; i < slots->count; i++)
		count += slots->list[i].state == state;
	return count;
}

/*
 * Touch those of the first BYTES at AT that are in the cache. Only mincore(2) can tell without changing anything: even
 * preadv2(RWF_NOWAIT) has small folios read ahead (mm/filemap.c, filemap_get_pages()).
 */
static void touch_cached(const struct slots *slots, char *at, uint64_t bytes)
{
	uint64_t page_bytes = slots->pages.base_bytes;
	unsigned pages = (unsigned)(bytes / page_bytes);
	cleanup_free unsigned char *cached = calloc(pages, 1);
	if (!cached || mincore(at, bytes, cached) < 0)
		return;
	for (unsigned first = 0, end; first < pages; first = end + 1) {
		for (end = first; end < pages && (cached[end] & 1);)
			end++;
		if (end > first)
			madvise(at + first * page_bytes, (end - first) * page_bytes, MADV_POPULATE_READ);
	}
}

/* Touch the first BYTES of the slot mapped at AT, and have what is not in the cache read in whole folios. */
static void read_huge(const struct slots *slots, char *at, uint64_t bytes)
{
	madvise(at, slots->pages.huge_bytes, MADV_HUGEPAGE);
	madvise(at, bytes, MADV_POPULATE_READ);
}

/*
 * See whether slot INDEX, mapped at AT, is huge. Touching its first page maps its last one only if one folio holds
 * both. (A kernel whose fault_around_bytes, 64 KiB, was raised to 2 MiB through debugfs would show small folios so,
 * too.)
 */
static void look_at(struct slots *slots, unsigned index, char *at)
{
	if (slots->sees_cache)
		touch_cached(slots, at, slots->pages.base_bytes);
	else
		read_huge(slots, at, slots->pages.base_bytes);
	uint64_t entry = 0;
	off_t entry_off = (off_t)(((uintptr_t)at + slots->pages.huge_bytes - slots->pages.base_bytes) /
	                          slots->pages.base_bytes * sizeof entry);
	if (pread(slots->pagemap_fd, &entry, sizeof entry, entry_off) == sizeof entry && (entry & PAGEMAP_PRESENT))
		slots->list[index].state = SLOT_HUGE;
}

void slot_look(struct slots *slots, unsigned index)
{
	char *at = map_slots(slots, index, 1, 0);
	if (!at)
		return;
	look_at(slots, index, at);
	unmap_slots(slots, 1, 0);
}

/* How many slots from FIRST on lie one behind the other in the file and are to be looked at, LOOK_BATCH at most. */
static unsigned run_length(const struct slots *slots, unsigned first)
{
	unsigned count = 0;
	while (count < LOOK_BATCH && first + count < slots->count && slots->list[first + count].state == SLOT_SMALL &&
	       slots->list[first + count].file_off == slots->list[first].file_off + count * slots->pages.huge_bytes)
		count++;
	return count;
}

void slots_look(struct slots *slots)
{
	for (unsigned first = 0, count; first < slots->count; first += count ? count : 1) {
		count = run_length(slots, first);
		char *at = count ? map_slots(slots, first, count, 0) : NULL;
		for (unsigned i = 0; at && i < count; i++)
			look_at(slots, first + i, at + i * slots->pages.huge_bytes);
		if (at)
			unmap_slots(slots, count, 0);
	}
}

static enum slot_state state_of(const struct slots *slots, const struct smaps_entry *entry)
{
	if (entry->file_pmd_bytes + entry->shmem_pmd_bytes >= slots->pages.huge_bytes)
		return SLOT_HUGE;
	if (entry->shared_clean_bytes + entry->shared_dirty_bytes > 0)
		return SLOT_BUSY;
	return entry->private_dirty_bytes > 0 ? SLOT_DIRTY : SLOT_SMALL;
}

static void read_states(struct slots *slots, const unsigned *indexes, unsigned count)
{
	cleanup_free char *text = NULL;
	if (read_file_at(AT_FDCWD, "/proc/self/smaps", SMAPS_LIMIT_BYTES, &text, NULL) < 0)
		return;
	struct smaps_cursor cursor = smaps_cursor(text);
	struct smaps_entry entry;
	while (smaps_next(&cursor, &entry) == 1) {
		for (unsigned i = 0; i < count; i++) {
			if (entry.start == (uintptr_t)place(slots, i) &&
			    entry.end == entry.start + slots->pages.huge_bytes)
				slots->list[indexes[i]].state = state_of(slots, &entry);
		}
	}
}

void slots_survey(struct slots *slots, const unsigned *indexes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char *at = map_slots(slots, indexes[i], 1, i);
		if (!at)
			continue;
		if (slots->sees_cache)
			touch_cached(slots, at, slots->pages.huge_bytes);
		else
			read_huge(slots, at, slots->pages.huge_bytes);
	}
	read_states(slots, indexes, count);
	for (unsigned i = 0; i < count; i++)
		unmap_slots(slots, 1, i);
}

int slot_collapse(struct slots *slots, unsigned index)
{
	char *at = map_slots(slots, index, 1, 0);
	int failed = at && madvise(at, slots->pages.huge_bytes, MADV_COLLAPSE) == 0 ? 0 : errno;
	unmap_slots(slots, 1, 0);
	return failed;
}

void slot_drop(struct slots *slots, unsigned index)
{
	posix_fadvise(slots->fd, (off_t)slots->list[index].file_off, (off_t)slots->pages.huge_bytes,
	              POSIX_FADV_DONTNEED);
}

bool slot_is_cached(struct slots *slots, unsigned index)
{
	uint64_t bytes = slots->pages.huge_bytes, pages = bytes / slots->pages.base_bytes;
	char *at = map_slots(slots, index, 1, 0);
	cleanup_free unsigned char *cached = at ? calloc(pages, 1) : NULL;
	bool found = false;
	if (cached && mincore(at, bytes, cached) == 0) {
		for (uint64_t i = 0; i < pages && !found; i++)
			found = cached[i] & 1;
	}
	unmap_slots(slots, 1, 0);
	return found;
}

void slot_read(struct slots *slots, unsigned index)
{
	char *at = map_slots(slots, index, 1, 0);
	if (at)
		read_huge(slots, at, slots->pages.huge_bytes);
	unmap_slots(slots, 1, 0);
}
