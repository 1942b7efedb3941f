/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/widen.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "mm/cow_pages.h"
#include "ptrace/inject.h"
#include "ptrace/stop_threads.h"
#include "ptrace/tracee_files.h"
#include "remap/private_copy.h"

/* Whether one text mapping of SPACE spans RANGE already. */
static bool is_spanned(const struct address_space *space, const struct plan_range *range)
{
	ssize_t at = address_space_find(space, range->start);
	return at >= 0 && mapping_is_text(&space->mappings[at]) && space->mappings[at].end >= range->end;
}

static uint64_t mapped_bytes(const struct address_space *space, const struct plan_range *range)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		uint64_t start = mapping->start > range->start ? mapping->start : range->start;
		uint64_t end = mapping->end < range->end ? mapping->end : range->end;
		bytes += start < end ? end - start : 0;
	}
	return bytes;
}

/* Whether all that SPACE has in RANGE is there still, and nothing else. */
static bool is_untouched(pid_t pid, const struct address_space *space, const struct plan_range *range)
{
	struct address_space now;
	if (address_space_read(pid, &now, NULL) < 0)
		return false;
	bool untouched = mapped_bytes(space, range) == mapped_bytes(&now, range);
	for (size_t i = 0; i < space->count && untouched; i++) {
		const struct mapping *before = &space->mappings[i];
		if (before->end <= range->start || before->start >= range->end)
			continue;
		uint64_t start = before->start > range->start ? before->start : range->start;
		uint64_t end = before->end < range->end ? before->end : range->end;
		ssize_t at = address_space_find(&now, start);
		const struct mapping *after = at < 0 ? NULL : &now.mappings[at];
		untouched = after && after->end >= end && mapping_same_file(after, before) &&
		            after->prot == before->prot &&
		            after->file_off + (start - after->start) == before->file_off + (start - before->start);
	}
	address_space_free(&now);
	return untouched;
}

int map_over(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int tracee_fd,
             bool is_own_file, struct error *err)
{
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		if (is_own_file && is_spanned(space, range))
			continue;
		uint64_t prot = (uint64_t)text_prot(tracee->pid, range->start, range->end);
		int64_t result = remote_syscall(tracee, err, SYS_mmap, range->start, range->end - range->start, prot,
		                                MAP_PRIVATE | MAP_FIXED, (uint64_t)tracee_fd,
		                                plan->pieces[range->first_piece].file_off);
		if (result == INT64_MIN)
			return -1;
		if (result < 0) {
			error_set_errno(err, (int)-result, REASON_ROUND_OUT, "mmap in the workload");
			if (!is_untouched(tracee->pid, space, range))
				tracee_kill(tracee);
			return -1;
		}
		fault_point("widened");
	}
	return 0;
}

/* With the tracee borrowed: the memory below its stack holds the file's descriptor for a moment, and is put back. */
static int pass_and_map(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int fd,
                        struct error *err)
{
	char before[TRACEE_PASS_BYTES];
	uint64_t scratch_addr = tracee_scratch(tracee, sizeof before);
	if (tracee_read(tracee, scratch_addr, before, sizeof before) != sizeof before)
		return error_set(err, REASON_ROUND_OUT, "the memory below the stack cannot be read");
	struct passed_file passed;
	int tracee_fd = tracee_pass_file(tracee, fd, scratch_addr, &passed);
	if (tracee->state == TRACEE_GONE)
		return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)tracee->pid);
	int result = tracee_fd < 0 ? error_set(err, REASON_ROUND_OUT, "the file could not be passed to the workload")
	                           : map_over(tracee, space, plan, tracee_fd, true, err);
	if (tracee_fd >= 0)
		tracee_close_passed(tracee, &passed);
	tracee_write(tracee, scratch_addr, before, sizeof before);
	return tracee->state == TRACEE_GONE ? -1 : result;
}

int others_stop_around(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
                       struct error *err)
{
	if (!tracee->process)
		return 0;
	if (other_threads_stop(tracee, err) < 0)
		return -1;
	for (unsigned i = 0; i < plan->range_count; i++) {
		if (is_untouched(tracee->pid, space, &plan->ranges[i]))
			continue;
		other_threads_start(tracee);
		return error_set(err, REASON_TEXT_CHANGED, "its text was mapped anew meanwhile");
	}
	return 0;
}

void others_start(struct tracee *tracee)
{
	if (tracee->process)
		other_threads_start(tracee);
}

/* While no other thread runs. */
static int widen_alone(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int fd,
                       struct error *err)
{
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		/* Breakpoints, or what else is not in the file; a uprobe would count the new mapping, but not the old.
		 */
		if (!is_spanned(space, range) && private_pages_between(tracee->pid, range->start, range->end))
			return error_set(err, REASON_TEXT_CHANGED,
			                 "its text, or the memory beside it, holds what is not in its file");
	}
	if (inject_begin(tracee, err) < 0)
		return -1;
	int result = pass_and_map(tracee, space, plan, fd, err);
	if (tracee->state == TRACEE_GONE || inject_end(tracee, err) < 0)
		return -1;
	return result;
}

int widen_text(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int fd,
               struct error *err)
{
	bool is_needed = false;
	for (unsigned i = 0; i < plan->range_count; i++)
		is_needed |= !is_spanned(space, &plan->ranges[i]);
	if (!is_needed)
		return 0;
	if (others_stop_around(tracee, space, plan, err) < 0)
		return -1;
	int result = widen_alone(tracee, space, plan, fd, err);
	others_start(tracee);
	return result;
}
