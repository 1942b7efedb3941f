#include "engine/page_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "engine/smaps.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define SLOT              PAGE_CACHE_SLOT_BYTES
#define SMAPS_LIMIT_BYTES (16 * MIB)

/*
 * The slots of a file. A few at a time are mapped, read+exec as the text will be, so that looking at a large file does
 * not make us large: BATCH places, STRIDE apart, so that the kernel does not merge them and smaps has a line for each.
 */
struct slots {
	int fd;
	unsigned count;
	uint64_t *file_off;
	bool *huge;
	bool sees_cache; /* may ask which pages of the file are in the cache */
	char *window;    /* address space for a batch, aligned to a slot */
	char *reserve;
};

#define BATCH         4
#define STRIDE        (2 * SLOT)
#define RESERVE_BYTES (BATCH * STRIDE + SLOT)

static char *slot_addr(const struct slots *slots, unsigned i)
{
	return slots->window + i % BATCH * STRIDE;
}

static void map_slot(const struct slots *slots, unsigned i)
{
	mmap(slot_addr(slots, i), SLOT, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, slots->fd,
	     (off_t)slots->file_off[i]);
}

static void unmap_slot(const struct slots *slots, unsigned i)
{
	mmap(slot_addr(slots, i), SLOT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/*
 * Which pages of slot I, which must be mapped, are in the cache. Only asking mincore(2) leaves the cache as it is: even
 * preadv2(RWF_NOWAIT) has small folios read ahead (mm/filemap.c, filemap_get_pages()). To those who neither own the
 * file nor may write to it the kernel answers "all"; SEES_CACHE is false then.
 */
static bool is_any_cached(const struct slots *slots, unsigned i, size_t bytes)
{
	unsigned char cached[SLOT / 4096] = {0};
	if (mincore(slot_addr(slots, i), bytes, cached) < 0)
		return true;
	for (size_t page = 0; page < bytes / 4096; page++) {
		if (cached[page] & 1)
			return true;
	}
	return false;
}

/* Ask smaps which slots of the batch that begins with slot FIRST are mapped by one entry. */
static void look_at_batch(struct slots *slots, unsigned first)
{
	cleanup_free char *text = NULL;
	if (read_file_at(AT_FDCWD, "/proc/self/smaps", SMAPS_LIMIT_BYTES, &text, NULL) < 0)
		return;
	uint64_t window = (uint64_t)(uintptr_t)slots->window;
	struct smaps_cursor cursor = smaps_cursor(text);
	struct smaps_entry entry;
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.start < window || entry.start >= window + BATCH * STRIDE || (entry.start - window) % STRIDE)
			continue;
		unsigned i = first + (unsigned)((entry.start - window) / STRIDE);
		if (i < slots->count)
			slots->huge[i] = entry.file_pmd_bytes + entry.shmem_pmd_bytes >= SLOT;
	}
}

/*
 * See which slots are huge: touch the first page of those that are in the cache; where it belongs to a 2 MiB folio the
 * fault maps all of it. Nothing here waits for a disk where the cache can be seen.
 */
static void look(struct slots *slots)
{
	for (unsigned first = 0; first < slots->count; first += BATCH) {
		for (unsigned i = first; i < first + BATCH && i < slots->count; i++) {
			map_slot(slots, i);
			if (is_any_cached(slots, i, 4096))
				madvise(slot_addr(slots, i), 4096, MADV_POPULATE_READ);
		}
		look_at_batch(slots, first);
		for (unsigned i = first; i < first + BATCH && i < slots->count; i++)
			unmap_slot(slots, i);
	}
}

/* Read slot I as the kernel does for a mapping that wants huge pages. May wait for a disk. */
static void fault_in(const struct slots *slots, unsigned i)
{
	map_slot(slots, i);
	madvise(slot_addr(slots, i), SLOT, MADV_HUGEPAGE);
	madvise(slot_addr(slots, i), SLOT, MADV_POPULATE_READ);
	unmap_slot(slots, i);
}

/* Have the kernel copy slot I into a huge folio; false where it does not do that. May wait for a disk. */
static bool collapse(const struct slots *slots, unsigned i)
{
	map_slot(slots, i);
	bool done = madvise(slot_addr(slots, i), SLOT, MADV_COLLAPSE) == 0;
	unmap_slot(slots, i);
	return done;
}

/*
 * Drop the clean, unmapped cache of the small slots [FIRST, LAST], which follow one another in the file, and of the
 * slot on either side where that is not huge: a folio that reaches over the edge of what is dropped is passed over
 * (mm/truncate.c, find_lock_entries()).
 */
static void drop_run(const struct slots *slots, unsigned first, unsigned last)
{
	uint64_t start = slots->file_off[first];
	uint64_t end = slots->file_off[last] + SLOT;
	if (start >= SLOT && !(first > 0 && slots->huge[first - 1] && slots->file_off[first - 1] + SLOT == start))
		start -= SLOT;
	if (!(last + 1 < slots->count && slots->huge[last + 1] && slots->file_off[last + 1] == end))
		end += SLOT;
	posix_fadvise(slots->fd, (off_t)start, (off_t)(end - start), POSIX_FADV_DONTNEED);
}

static unsigned count_huge(const struct slots *slots)
{
	unsigned huge = 0;
	for (unsigned i = 0; i < slots->count; i++)
		huge += slots->huge[i];
	return huge;
}

static unsigned first_small(const struct slots *slots)
{
	unsigned i = 0;
	while (i < slots->count && slots->huge[i])
		i++;
	return i;
}

/* Reading a slot anew can fail once where pages wait in another CPU's batch (lru_add_drain()). */
#define TRIES 2

/* What the child tells: it ended, and how. */
enum child_result { CHILD_TRIED_ALL = 10, CHILD_UNSUPPORTED };

/* After drop_run(): whether pages of slot I stayed, because somebody maps them or they are dirty. */
static bool is_busy(const struct slots *slots, unsigned i)
{
	map_slot(slots, i);
	bool busy = slots->sees_cache && is_any_cached(slots, i, SLOT);
	unmap_slot(slots, i);
	return busy;
}

/*
 * One round over the small slots. All are dropped before the first is read, because a fault with MADV_HUGEPAGE reads
 * two slots at a time and small pages in the second would stop it (mm/filemap.c, do_sync_mmap_readahead()). Busy slots
 * are not read: a launch must not pay again and again for a file that others run on small pages.
 */
static void read_anew(struct slots *slots)
{
	for (unsigned first = 0; first < slots->count; first++) {
		unsigned last = first;
		while (!slots->huge[first] && last + 1 < slots->count && !slots->huge[last + 1] &&
		       slots->file_off[last + 1] == slots->file_off[last] + SLOT)
			last++;
		if (!slots->huge[first])
			drop_run(slots, first, last);
		first = last;
	}
	for (unsigned i = 0; i < slots->count; i++) {
		if (!slots->huge[i] && !is_busy(slots, i))
			fault_in(slots, i);
	}
	look(slots);
}

/* Try the first small slot alone: what the filesystem cannot do there it cannot do for the others. */
static bool can_read_anew(struct slots *slots, unsigned probe)
{
	bool busy = false;
	for (int tries = 0; tries < TRIES && !slots->huge[probe] && !busy; tries++) {
		drop_run(slots, probe, probe);
		busy = is_busy(slots, probe);
		if (!busy)
			fault_in(slots, probe);
		look(slots);
	}
	return busy || slots->huge[probe];
}

_Noreturn static void try_all_in_child(struct slots *slots)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (unsigned i = 0; i < slots->count; i++) {
		if (!slots->huge[i])
			fault_in(slots, i); /* what is not in the cache yet comes in whole folios */
	}
	look(slots);
	for (unsigned i = 0; i < slots->count; i++) {
		if (!slots->huge[i] && !collapse(slots, i))
			break;
	}
	look(slots);
	if (count_huge(slots) == slots->count)
		_exit(CHILD_TRIED_ALL);
	if (!can_read_anew(slots, first_small(slots)))
		_exit(CHILD_UNSUPPORTED);
	for (int tries = 0; tries < TRIES && count_huge(slots) < slots->count; tries++)
		read_anew(slots);
	_exit(CHILD_TRIED_ALL);
}

/* Run the slow part in a child and wait for it TIMEOUT_MS at most. Returns its result, or 0 where the time was over. */
static int run_child(struct slots *slots, unsigned timeout_ms)
{
	long child = syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0UL);
	if (child == 0)
		try_all_in_child(slots);
	if (child < 0)
		return 0;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)child, 0);
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	int ready = pidfd < 0 ? 0 : poll(&poll_fd, 1, (int)timeout_ms);
	int status = 0;
	if (ready != 1)
		kill((pid_t)child, SIGKILL);
	/* A child that hangs in the disk's hands cannot be reaped now: it is left to whoever reaps orphans. */
	if (waitpid((pid_t)child, &status, __WALL | (ready == 1 ? 0 : WNOHANG)) != child || !WIFEXITED(status))
		return 0;
	return WEXITSTATUS(status);
}

static int set_up(struct slots *slots, int fd, const struct file_range *ranges, unsigned count, struct error *err)
{
	*slots = (struct slots){.fd = fd};
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "file-unsupported", "fstat");
	for (unsigned i = 0; i < count; i++) {
		slots->count += (unsigned)(ranges[i].bytes / SLOT);
		if (ranges[i].file_off + ranges[i].bytes > (uint64_t)st.st_size)
			return error_set(err, "file-short", "the file ends inside its text");
	}
	if (slots->count == 0 || slots->count > PAGE_CACHE_SLOTS_MAX)
		return error_set(err, "file-unsupported", "%u slots of 2 MiB", slots->count);
	slots->sees_cache = geteuid() == 0 || geteuid() == st.st_uid;
	slots->file_off = calloc(slots->count, sizeof slots->file_off[0]);
	slots->huge = calloc(slots->count, sizeof slots->huge[0]);
	slots->reserve = mmap(NULL, RESERVE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!slots->file_off || !slots->huge || slots->reserve == MAP_FAILED)
		return error_set_errno(err, ENOMEM, "address-space-limit", "no address space to look at the file");
	slots->window = slots->reserve + (SLOT - (uintptr_t)slots->reserve % SLOT) % SLOT;
	unsigned slot = 0;
	for (unsigned i = 0; i < count; i++) {
		for (uint64_t off = 0; off < ranges[i].bytes; off += SLOT)
			slots->file_off[slot++] = ranges[i].file_off + off;
	}
	return 0;
}

static void tear_down(struct slots *slots)
{
	if (slots->reserve && slots->reserve != MAP_FAILED)
		munmap(slots->reserve, RESERVE_BYTES);
	free(slots->file_off);
	free(slots->huge);
}

static void explain(const struct slots *slots, int result, unsigned timeout_ms, struct error *err)
{
	unsigned huge = count_huge(slots);
	if (result == 0)
		error_set(err, "file-timeout", "%u of %u slots of 2 MiB were read after %u ms", huge, slots->count,
		          timeout_ms);
	else if (result == CHILD_UNSUPPORTED)
		error_set(err, "file-unsupported", "this filesystem and kernel keep the file in small folios");
	else
		error_set(err, "file-busy",
		          "%u of %u slots of 2 MiB; the others are mapped in small pages elsewhere, or dirty", huge,
		          slots->count);
}

int page_cache_make_huge(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms,
                         uint64_t *huge_bytes, struct error *err)
{
	struct slots slots;
	*huge_bytes = 0;
	if (set_up(&slots, fd, ranges, count, err) < 0) {
		tear_down(&slots);
		return -1;
	}
	if (slots.sees_cache)
		look(&slots);
	if (count_huge(&slots) < slots.count) {
		/* From here on it may wait for a disk; without a view of the cache that holds for the first look too.
		 */
		int result = run_child(&slots, timeout_ms);
		if (result != 0 || slots.sees_cache)
			look(&slots);
		if (count_huge(&slots) < slots.count)
			explain(&slots, result, timeout_ms, err);
	}
	*huge_bytes = count_huge(&slots) * SLOT;
	tear_down(&slots);
	return 0;
}
