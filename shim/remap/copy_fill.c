/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/copy_fill.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/retry.h"
#include "base/size.h"
#include "host/host.h"

#define PART_BYTES (4 * MIB)

/* A process more costs a third of a millisecond; a part takes about one. */
#define PARTS_TO_SHARE 4

struct filling {
	const struct plan *plan;
	const struct backing_copy *backing;
	uint64_t page_bytes, part_bytes;
	int memfd, text_fd;
	struct progress *progress;
};

/* Shared by the two that fill. */
struct progress {
	unsigned next;      /* part that nobody has taken yet */
	unsigned complete;  /* parts that are filled */
	struct error error; /* the child's */
};

/* Copy BYTES of the file at FILE_OFF into the window at TO. */
static int fill_from_file(int text_fd, char *to, uint64_t bytes, uint64_t file_off, struct error *err)
{
	while (bytes > 0) {
		ssize_t got = retry(pread(text_fd, to, bytes, (off_t)file_off));
		if (got < 0)
			return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "reading the program's file");
		if (got == 0)
			return error_set(err, REASON_TEXT_UNREADABLE, "the program's file ends inside its text");
		to += got;
		bytes -= (uint64_t)got;
		file_off += (uint64_t)got;
	}
	return 0;
}

/* Fill WINDOW, which shows BYTES of the copy from RANGE_OFF of RANGE on. */
static int fill_window(const struct filling *filling, const struct plan_range *range, char *window, uint64_t range_off,
                       uint64_t bytes, struct error *err)
{
	uint64_t from = range->start + range_off;
	uint64_t to = from + bytes;
	for (unsigned i = 0; i < range->piece_count; i++) {
		const struct plan_piece *piece = &filling->plan->pieces[range->first_piece + i];
		uint64_t start = piece->start > from ? piece->start : from;
		uint64_t end = piece->end < to ? piece->end : to;
		if (start >= end)
			continue;
		if (piece->bytes) {
			memcpy(window + (start - from), piece->bytes + (start - piece->start), end - start);
			continue;
		}
		if (fill_from_file(filling->text_fd, window + (start - from), end - start,
		                   piece->file_off + (start - piece->start), err) < 0)
			return -1;
	}
	return 0;
}

/* Map BYTES of the copy at COPY_OFF here, aligned to the page size, and fill them. */
static int fill_part(const struct filling *filling, const struct plan_range *range, uint64_t copy_off,
                     uint64_t range_off, uint64_t bytes, struct error *err)
{
	uint64_t align = filling->page_bytes;
	char *reserve = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserve == MAP_FAILED)
		return error_set_errno(err, errno, REASON_ADDRESS_SPACE_LIMIT,
		                       "no address space to fill the copy from");
	char *window = reserve + (align - (uintptr_t)reserve % align) % align;
	int result = 0;
	if (mmap(window, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, filling->memfd, (off_t)copy_off) ==
	    MAP_FAILED)
		result = error_set_errno(err, errno, REASON_REMAP, "mapping the copy to fill it");
	if (!result && filling->backing)
		result = filling->backing->open_window(window, bytes, err);
	if (!result)
		result = fill_window(filling, range, window, range_off, bytes, err);
	munmap(reserve, bytes + align);
	return result;
}

static unsigned parts_of(const struct filling *filling, const struct plan_range *range)
{
	return (unsigned)((range->end - range->start + filling->part_bytes - 1) / filling->part_bytes);
}

/* Fill the part of this NUMBER, counted through all ranges. */
static int fill_numbered(const struct filling *filling, unsigned number, struct error *err)
{
	const struct plan_range *range = filling->plan->ranges;
	uint64_t copy_off = 0;
	while (number >= parts_of(filling, range)) {
		number -= parts_of(filling, range);
		copy_off += range->end - range->start;
		range++;
	}
	uint64_t range_off = number * filling->part_bytes;
	uint64_t left = range->end - range->start - range_off;
	uint64_t bytes = left < filling->part_bytes ? left : filling->part_bytes;
	return fill_part(filling, range, copy_off + range_off, range_off, bytes, err);
}

/* Take part after part until all PARTS are taken. If one fails, the other is not to take more. */
static int fill_parts(const struct filling *filling, unsigned parts, bool is_helper, struct error *err)
{
	struct progress *progress = filling->progress;
	unsigned number;
	while ((number = __atomic_fetch_add(&progress->next, 1, __ATOMIC_SEQ_CST)) < parts) {
		if (is_helper)
			fault_point("fill-helper");
		if (fill_numbered(filling, number, err) < 0) {
			__atomic_store_n(&progress->next, parts, __ATOMIC_SEQ_CST);
			return -1;
		}
		__atomic_fetch_add(&progress->complete, 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

/* A child that helps; -1 if there is none, which only takes longer. Its end raises no signal. */
static pid_t start_helper(const struct filling *filling, unsigned parts)
{
	if (parts < PARTS_TO_SHARE || !host_has_two_processors())
		return -1;
	pid_t parent = getpid();
	long child = syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() == parent)
			fill_parts(filling, parts, true, &filling->progress->error);
		_exit(0);
	}
	return (pid_t)child;
}

/* With the progress in place: all parts, whoever fills them. */
static int fill_shared(const struct filling *filling, unsigned parts, struct error *err)
{
	struct progress *progress = filling->progress;
	pid_t helper = start_helper(filling, parts);
	int result = fill_parts(filling, parts, false, err);
	if (helper > 0)
		retry(waitpid(helper, NULL, __WALL));
	if (result < 0)
		return -1;
	if (error_is_set(&progress->error)) {
		*err = progress->error;
		return -1;
	}
	if (progress->complete != parts)
		return error_set(err, REASON_REMAP, "the process that helped to fill the copy was killed");
	return 0;
}

int fill_copy(int memfd, const struct plan *plan, const struct backing_copy *backing, uint64_t page_bytes, int text_fd,
              struct error *err)
{
	struct filling filling = {plan,  backing, page_bytes, page_bytes > PART_BYTES ? page_bytes : PART_BYTES,
	                          memfd, text_fd, NULL};
	unsigned parts = 0;
	for (unsigned i = 0; i < plan->range_count; i++)
		parts += parts_of(&filling, &plan->ranges[i]);
	struct progress *progress =
	    mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		return error_set_errno(err, errno, REASON_ADDRESS_SPACE_LIMIT, "no memory to fill the copy");
	filling.progress = progress;
	int result = fill_shared(&filling, parts, err);
	munmap(progress, sizeof *progress);
	return result;
}
