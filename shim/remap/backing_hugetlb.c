/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private copy on hugetlb pages: taken from the pool that the operator reserved, never split, never swapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "base/size.h"
#include "host/host.h"
#include "host/pages.h"
#include "ptrace/inject.h"
#include "remap/backing.h"

uint64_t hugetlb_page_bytes(const struct settings *settings)
{
	return settings->page_size_bytes ? settings->page_size_bytes : host_pages()->hugetlb_bytes;
}

static unsigned hugetlb_memfd_flags(uint64_t page_bytes)
{
	unsigned log2_bytes = (unsigned)__builtin_ctzll(page_bytes);
	return MFD_HUGETLB | (log2_bytes << MFD_HUGE_SHIFT);
}

/* Pages of POOL that the policy keeps for others. */
static uint64_t kept_free(const struct hugetlb_pool *pool, const struct settings *settings)
{
	if (settings->keep_free_percent)
		return (pool->total * settings->keep_free_percent + 99) / 100;
	return settings->keep_free_pages;
}

/* If the system has been told that hugetlb pages are memory like any other. */
static int check_memory(pid_t pid, uint64_t bytes, struct error *err)
{
	uint64_t headroom_bytes = UINT64_MAX;
	char left[16], wanted[16];
	host_hugetlb_memory_headroom(pid, &headroom_bytes);
	if (headroom_bytes >= bytes)
		return 0;
	return error_set(err, REASON_MEMORY_LIMIT,
	                 "the memory cgroup has %s left, a copy needs %s: hugetlb pages count there "
	                 "(memory_hugetlb_accounting)",
	                 size_format(headroom_bytes, left, sizeof left), size_format(bytes, wanted, sizeof wanted));
}

static int check_limit(pid_t pid, uint64_t bytes, uint64_t page_bytes, struct error *err)
{
	uint64_t headroom_bytes = UINT64_MAX;
	char allowed[16], wanted[16], page[16];
	host_hugetlb_headroom(pid, page_bytes, &headroom_bytes);
	if (headroom_bytes >= bytes)
		return check_memory(pid, bytes, err);
	return error_set(err, REASON_HUGETLB_LIMIT, "the cgroup allows %s more of %s pages, %s are needed",
	                 size_format(headroom_bytes, allowed, sizeof allowed),
	                 size_format(page_bytes, page, sizeof page), size_format(bytes, wanted, sizeof wanted));
}

static int hugetlb_check(pid_t pid, uint64_t bytes, const struct settings *settings, struct error *err)
{
	uint64_t page_bytes = hugetlb_page_bytes(settings);
	uint64_t pages = bytes / page_bytes;
	struct hugetlb_pool pool;
	if (host_hugetlb_pool(page_bytes, &pool) < 0) {
		char page[16];
		return error_set_errno(err, errno, REASON_HUGETLB_POOL, "no pool of %s pages",
		                       size_format(page_bytes, page, sizeof page));
	}
	uint64_t unreserved = pool.free > pool.reserved ? pool.free - pool.reserved : 0;
	if (unreserved + pool.overcommit_left < pages)
		return error_set(err, REASON_HUGETLB_POOL, "%" PRIu64 " of the %" PRIu64 " pages needed are free",
		                 unreserved + pool.overcommit_left, pages);
	uint64_t kept = kept_free(&pool, settings);
	if (kept && unreserved < pages + kept)
		return error_set(err, REASON_HUGETLB_RESERVED,
		                 "%" PRIu64 " pages are free, %" PRIu64 " needed, keep_free holds %" PRIu64 " back",
		                 unreserved, pages, kept);
	return check_limit(pid, bytes, page_bytes, err);
}

static int allocation_failed(int errnum, pid_t pid, uint64_t bytes, uint64_t page_bytes, struct error *err)
{
	if (errnum == EFBIG)
		return error_set(err, REASON_FILE_SIZE_LIMIT, "RLIMIT_FSIZE is below the size of the text; raise it");
	if ((errnum == ENOSPC || errnum == ENOMEM) && check_limit(pid, bytes, page_bytes, err) < 0)
		return -1;
	return error_set_errno(err, errnum, REASON_HUGETLB_POOL, "taking %" PRIu64 " pages", bytes / page_bytes);
}

/* fallocate() takes and zeroes every page now: a shortage or a cgroup limit is an error here instead of a SIGBUS later.
 */
static int hugetlb_allocate(int memfd, pid_t pid, uint64_t bytes, uint64_t page_bytes, struct error *err)
{
	int failed = retry(fallocate(memfd, 0, 0, (off_t)bytes));
	return failed ? allocation_failed(errno, pid, bytes, page_bytes, err) : 0;
}

/* A fault would not do: on a hole of a private mapping it takes a page for the mapping, not for the file. */
static int hugetlb_allocate_open(struct tracee *tracee, uint64_t tracee_fd, uint64_t bytes, uint64_t page_bytes,
                                 struct error *err)
{
	int64_t result = remote_syscall(tracee, err, SYS_fallocate, tracee_fd, 0, 0, bytes, 0, 0);
	if (result == INT64_MIN)
		return -1;
	return result < 0 ? allocation_failed((int)-result, tracee->pid, bytes, page_bytes, err) : 0;
}

static int hugetlb_open_window(void *window, uint64_t bytes, struct error *err)
{
	(void)window, (void)bytes, (void)err;
	return 0;
}

/*
 * mremap(2) of hugetlb pages is EINVAL before Linux 5.16, after it has unmapped what was at the new place: tried with a
 * mapping of no page at all.
 */
static bool hugetlb_can_move(uint64_t page_bytes)
{
	bool moved = false;
	cleanup_close int memfd = memfd_create("hugexec-move", MFD_CLOEXEC | hugetlb_memfd_flags(page_bytes));
	char *reserve = mmap(NULL, 3 * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserve == MAP_FAILED)
		return false;
	char *from = reserve + (page_bytes - (uintptr_t)reserve % page_bytes) % page_bytes;
	if (mmap(from, page_bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, memfd, 0) != MAP_FAILED)
		moved = mremap(from, page_bytes, page_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, from + page_bytes) !=
		        MAP_FAILED;
	munmap(reserve, 3 * page_bytes);
	return moved;
}

const struct backing_copy backing_hugetlb = {
    .backing = BACKING_HUGETLB,
    .memfd_flags = hugetlb_memfd_flags,
    .check = hugetlb_check,
    .allocate = hugetlb_allocate,
    .allocate_open = hugetlb_allocate_open,
    .open_window = hugetlb_open_window,
    .can_move = hugetlb_can_move,
};
