/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/private_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/missing.h"
#include "base/retry.h"
#include "base/size.h"
#include "mm/cow_pages.h"
#include "mm/mapped_file.h"
#include "mm/smaps.h"
#include "ptrace/inject.h"
#include "ptrace/stop_threads.h"
#include "ptrace/tracee_files.h"
#include "remap/backing.h"
#include "remap/copy_fill.h"
#include "remap/populate.h"

/* No program has so much code; a sparse file that claims to would hold its launch for minutes. */
#define COPY_MAX_BYTES (4 * GIB)

/* A copy in the making. */
struct copy {
	struct tracee *tracee;
	const struct plan *plan;
	const struct settings *settings;
	const struct backing_copy *backing;
	const struct mapping *text; /* one of the object's, of the address space that was planned with */
	int prot;                   /* of the text, and of what takes its place (text_prot()) */
	uint64_t page_bytes;
	int memfd;           /* ours; -1: not yet */
	uint64_t gap_addr;   /* free address space in the tracee */
	uint64_t aside_addr; /* where the tracee has (the rest of) the copy mapped before the switch; 0: nowhere */
	uint64_t aside_bytes;
	int64_t tracee_fd;     /* the memfd as the tracee has it open until the switch; -1: it has closed it */
	bool keeps_fd;         /* the kernel cannot move the mapping aside over the text: the text is mapped anew */
	bool others_stand;     /* the tracee's other threads, stopped by us */
	bool children_inherit; /* the kernel would not take back that children do not inherit the mapping aside */
};

/* Turn the result of an injected call into ERR. Nothing to do if the tracee is lost: ERR is set already. */
static int call_failed(int64_t result, const char *what, struct error *err)
{
	if (result == INT64_MIN)
		return -1;
	int errnum = (int)-result;
	enum reason reason = errnum == EMFILE || errnum == ENFILE  ? REASON_FD_LIMIT
	                     : errnum == EPERM || errnum == EACCES ? REASON_NOT_PERMITTED
	                                                           : REASON_REMAP;
	return error_set_errno(err, errnum, reason, "%s in the workload", what);
}

static int64_t advise_aside(struct copy *copy, int advice, struct error *err)
{
	return remote_syscall(copy->tracee, err, SYS_madvise, copy->aside_addr, copy->aside_bytes, (uint64_t)advice, 0,
	                      0, 0);
}

/*
 * If other threads run, one of them may fork: what is mapped aside for a while is none of the child's business, and
 * would be there for its life. A child without its text would not live, though, so that the switch has to take
 * MADV_DONTFORK back; from Linux 7.2 on MADV_DOFORK is EINVAL for hugetlb pages. It is tried where it changes nothing;
 * if it is refused, no thread runs until the switch is done.
 */
static int keep_from_children(struct copy *copy, struct error *err)
{
	if (!copy->tracee->process)
		return 0;
	int64_t result = advise_aside(copy, MADV_DOFORK, err);
	copy->children_inherit = result == -EINVAL;
	if (result == 0)
		result = advise_aside(copy, MADV_DONTFORK, err);
	return result < 0 && !copy->children_inherit ? call_failed(result, "madvise for fork", err) : 0;
}

/* Sealed only later, so a private mapping; without a reservation, hugetlb pages come with the file. */
static int map_aside(struct copy *copy, int64_t tracee_fd, struct error *err)
{
	int64_t mapped =
	    remote_syscall(copy->tracee, err, SYS_mmap, copy->gap_addr, copy->plan->range_bytes, (uint64_t)copy->prot,
	                   MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE, (uint64_t)tracee_fd, 0);
	fault_point("aside");
	if (mapped == -ENOMEM)
		return error_set(err, REASON_ADDRESS_SPACE_LIMIT,
		                 "no address space for a second mapping of the text; raise RLIMIT_AS");
	if (mapped < 0)
		return call_failed(mapped, "mmap", err);
	copy->aside_addr = (uint64_t)mapped;
	copy->aside_bytes = copy->plan->range_bytes;
	return keep_from_children(copy, err);
}

/* The size is set from here, so that no limit of the tracee's on file sizes sends it a signal. */
static int set_size(struct copy *copy, struct error *err)
{
	if (ftruncate(copy->memfd, (off_t)copy->plan->range_bytes) == 0)
		return 0;
	return error_set_errno(err, errno, REASON_REMAP, "sizing the copy");
}

static int close_in_tracee(struct copy *copy, struct error *err)
{
	int64_t closed = remote_syscall(copy->tracee, err, SYS_close, (uint64_t)copy->tracee_fd, 0, 0, 0, 0, 0);
	copy->tracee_fd = -1;
	return closed < 0 ? call_failed(closed, "close", err) : 0;
}

/* With the tracee borrowed: create the memfd, fetch it, map it aside, close it there if it is not needed again. */
static int create_aside(struct copy *copy, struct error *err)
{
	struct tracee *tracee = copy->tracee;
	const struct backing_copy *backing = copy->backing;
	int64_t fd = tracee_memfd_create(tracee, backing->memfd_flags(copy->page_bytes), err);
	if (fd < 0)
		return call_failed(fd, "memfd_create", err);
	fault_point("memfd-created");
	copy->memfd = tracee_fetch_fd(tracee->pid, (int)fd, err);
	fault_point("memfd-fetched");
	int failed = copy->memfd < 0 ? -1 : map_aside(copy, fd, err);
	if (!failed && tracee->charges_itself)
		failed = set_size(copy, err);
	if (!failed && tracee->charges_itself && backing->allocate_open)
		failed = backing->allocate_open(tracee, (uint64_t)fd, copy->plan->range_bytes, copy->page_bytes, err);
	if (tracee->state == TRACEE_GONE)
		return -1;
	copy->tracee_fd = fd;
	if (copy->keeps_fd && !failed)
		return 0;
	int closed = close_in_tracee(copy, failed ? NULL : err);
	fault_point("fd-closed");
	return failed ? failed : closed;
}

/* With the tracee borrowed. */
static int allocate_mapped(struct copy *copy, struct error *err)
{
	int result = copy->backing->allocate_mapped(copy->tracee, copy->aside_addr, copy->plan->range_bytes, err);
	fault_point("allocated-inside");
	return result;
}

struct fill_request {
	const struct copy *copy;
	int text_fd;
};

/* Aside: allocating may last as the kernel moves memory around, request as the disk is slow. */
static int allocate_and_fill(void *context, struct error *err)
{
	const struct fill_request *request = context;
	const struct copy *copy = request->copy;
	const struct backing_copy *backing = copy->tracee->charges_itself ? NULL : copy->backing;
	if (backing &&
	    backing->allocate(copy->memfd, copy->tracee->pid, copy->plan->range_bytes, copy->page_bytes, err) < 0)
		return -1;
	fault_point("allocated");
	int text_fd = mapped_file_readable(request->text_fd);
	if (text_fd < 0)
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "%s", copy->text->path);
	int result = fill_copy(copy->memfd, copy->plan, backing, copy->page_bytes, text_fd, err);
	if (text_fd != request->text_fd)
		close(text_fd);
	return result;
}

static int fill_and_seal(struct copy *copy, int text_fd, struct error *err)
{
	struct fill_request request = {copy, text_fd};
	if (tracee_work_aside(copy->tracee, allocate_and_fill, &request, err) < 0)
		return -1;
	fault_point("filled");
	if (fcntl(copy->memfd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_set_errno(err, errno, REASON_REMAP, "sealing the copy");
	fault_point("sealed");
	return 0;
}

/*
 * Private hugetlb pages are in every core file by default (core(5), bit 5), a file's text is not; it is not lost that
 * way, since the debugger has the program's file. A core file that grows is no reason to give up.
 */
static void keep_from_core_files(struct copy *copy, uint64_t addr, uint64_t bytes)
{
	if (copy->backing->backing == BACKING_HUGETLB)
		remote_syscall(copy->tracee, NULL, SYS_madvise, addr, bytes, MADV_DONTDUMP, 0, 0, 0);
}

/* With the tracee borrowed: map every page of the copy now, so that no fault on it can fail later, and see that it is
 * huge. */
static int populate(struct copy *copy, struct error *err)
{
	int64_t result = populate_read(copy->tracee, copy->aside_addr, copy->plan->range_bytes, copy->page_bytes, err);
	if (result < 0)
		return call_failed(result, "mapping the copy's pages", err);
	fault_point("populated");
	keep_from_core_files(copy, copy->aside_addr, copy->plan->range_bytes);
	if (copy->tracee->state == TRACEE_GONE)
		return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)copy->tracee->pid);
	uint64_t end_addr = copy->aside_addr + copy->plan->range_bytes;
	cleanup_free char *smaps = remap_read_smaps(copy->tracee->pid, end_addr);
	uint64_t huge_bytes = remap_huge_bytes(smaps, copy->aside_addr, end_addr, NULL);
	if (huge_bytes < copy->plan->range_bytes) {
		char have[16], want[16];
		return error_set(err, copy->backing->backing == BACKING_THP ? REASON_THP_REFUSED : REASON_HUGETLB_POOL,
		                 "only %s of the copy's %s came on huge pages",
		                 size_format(huge_bytes, have, sizeof have),
		                 size_format(copy->plan->range_bytes, want, sizeof want));
	}
	return 0;
}

/* Whether the text of RANGE is still the file's own mapping. */
static bool range_is_untouched(const struct copy *copy, const struct plan_range *range)
{
	struct address_space now;
	if (address_space_read(copy->tracee->pid, &now, NULL) < 0)
		return false;
	bool untouched = true;
	for (unsigned i = 0; i < range->piece_count && untouched; i++) {
		const struct plan_piece *piece = &copy->plan->pieces[range->first_piece + i];
		ssize_t at = address_space_find(&now, piece->start);
		const struct mapping *mapping = at < 0 ? NULL : &now.mappings[at];
		untouched = mapping && mapping->end >= piece->end && mapping_same_file(mapping, copy->text) &&
		            mapping->file_off + (piece->start - mapping->start) == piece->file_off;
	}
	address_space_free(&now);
	return untouched;
}

/* Whether mseal(2) (Linux 6.10) forbids to replace some of RANGE: a program, or a loader that was told to, may do that.
 */
static bool range_is_sealed(const struct copy *copy, const struct plan_range *range)
{
	cleanup_free char *smaps = remap_read_smaps(copy->tracee->pid, range->end);
	struct smaps_cursor cursor = smaps_cursor(smaps ? smaps : "");
	struct smaps_entry entry;
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.sealed && entry.start < range->end && entry.end > range->start)
			return true;
	}
	return false;
}

static void switch_failed(const struct copy *copy, const struct plan_range *range, int64_t result, struct error *err)
{
	if (result == -EPERM && range_is_sealed(copy, range))
		error_set(err, REASON_TEXT_SEALED,
		          "the program or its loader has sealed the text (mseal): only backing file fits");
	else
		call_failed(result, "mremap", err);
}

/* Put what the copy has at COPY_OFF in the place of RANGE. Returns the kernel's result. */
static int64_t put_in_place(struct copy *copy, const struct plan_range *range, uint64_t copy_off, struct error *err)
{
	uint64_t bytes = range->end - range->start;
	int64_t result;
	if (copy->keeps_fd) {
		result = remote_syscall(copy->tracee, err, SYS_mmap, range->start, bytes, (uint64_t)copy->prot,
		                        MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED | MAP_POPULATE,
		                        (uint64_t)copy->tracee_fd, copy_off);
		if (result >= 0)
			keep_from_core_files(copy, range->start, bytes);
		return result;
	}
	result = remote_syscall(copy->tracee, err, SYS_mremap, copy->aside_addr, bytes, bytes,
	                        MREMAP_MAYMOVE | MREMAP_FIXED, range->start, 0);
	if (result >= 0) {
		copy->aside_addr += bytes;
		copy->aside_bytes -= bytes;
	}
	return result;
}

/*
 * With the tracee borrowed: move the copy over the text, a call per range. A call that fails having changed nothing
 * ends the switch there, which leaves right text everywhere; one that took the old text away and failed then (it needs
 * a shortage of kernel memory between two allocations of a few hundred bytes) cannot be mended: the tracee is killed.
 */
static int switch_text(struct copy *copy, struct error *err)
{
	uint64_t copy_off = 0;
	fault_point("switching");
	for (unsigned i = 0; i < copy->plan->range_count; i++) {
		const struct plan_range *range = &copy->plan->ranges[i];
		int64_t moved = put_in_place(copy, range, copy_off, err);
		copy_off += range->end - range->start;
		if (moved < 0) {
			switch_failed(copy, range, moved, err);
			if (copy->tracee->state != TRACEE_GONE && !range_is_untouched(copy, range))
				tracee_kill(copy->tracee);
			return -1;
		}
	}
	fault_point("switched");
	return 0;
}

static int switch_inheritable(struct copy *copy, struct error *err)
{
	if (!copy->children_inherit) {
		int64_t result = advise_aside(copy, MADV_DOFORK, err);
		if (result < 0)
			return call_failed(result, "madvise for fork", err);
	}
	return switch_text(copy, err);
}

/* With the tracee borrowed: take away what it has of the copy besides its text. */
static int clean_up(struct copy *copy, struct error *err)
{
	int failed = copy->tracee_fd >= 0 ? close_in_tracee(copy, err) : 0;
	if (failed || copy->aside_bytes == 0)
		return failed;
	int64_t result = remote_syscall(copy->tracee, err, SYS_munmap, copy->aside_addr, copy->aside_bytes, 0, 0, 0, 0);
	if (result < 0)
		return call_failed(result, "munmap", err);
	copy->aside_bytes = 0;
	return 0;
}

/* Borrow the tracee for one step of the work and give it back, whatever the step's outcome. */
static int while_injecting(struct copy *copy, int (*step)(struct copy *, struct error *), struct error *err)
{
	if (inject_begin(copy->tracee, err) < 0)
		return -1;
	int result = step(copy, err);
	if (copy->tracee->state == TRACEE_GONE)
		return -1;
	/* A tracee that has gone is the reason for whatever else has failed. */
	if (inject_end(copy->tracee, err) < 0)
		return -1;
	fault_point("returned");
	return result;
}

/* Nobody runs any more who could: what was copied must be what is there still. */
static int check_ranges(const struct copy *copy, struct error *err)
{
	for (unsigned i = 0; i < copy->plan->range_count; i++) {
		const struct plan_range *range = &copy->plan->ranges[i];
		if (range_is_untouched(copy, range) &&
		    !private_pages_between(copy->tracee->pid, range->start, range->end))
			continue;
		if (tracee_check_native(copy->tracee, err) == 0) /* else it has gone, and has no text */
			error_set(err, REASON_TEXT_CHANGED, "its text was changed while it was copied");
		return -1;
	}
	return 0;
}

static int stop_others(struct copy *copy, struct error *err)
{
	if (copy->others_stand || !copy->tracee->process)
		return 0;
	if (other_threads_stop(copy->tracee, err) < 0)
		return -1;
	copy->others_stand = true;
	return 0;
}

static void start_others(struct copy *copy)
{
	if (copy->others_stand)
		other_threads_start(copy->tracee);
	copy->others_stand = false;
}

/* While no other thread runs: one that forked would have the descriptor, and the mapping before it is taken out. */
static int create_alone(struct copy *copy, struct error *err)
{
	if (stop_others(copy, err) < 0)
		return -1;
	int result = while_injecting(copy, create_aside, err);
	if (!copy->children_inherit && !copy->keeps_fd)
		start_others(copy);
	return result;
}

/* Switch while no other thread runs. They are started when what is left of the copy's making has been taken away. */
static int switch_alone(struct copy *copy, struct error *err)
{
	if (!copy->tracee->process)
		return while_injecting(copy, switch_text, err);
	if (stop_others(copy, err) < 0)
		return -1;
	return check_ranges(copy, err) < 0 ? -1 : while_injecting(copy, switch_inheritable, err);
}

static int make_copy_and_switch(struct copy *copy, int text_fd, struct error *err)
{
	if (create_alone(copy, err) < 0)
		return -1;
	fault_point("aside-returned");
	if (copy->tracee->charges_itself && copy->backing->allocate_mapped &&
	    while_injecting(copy, allocate_mapped, err) < 0)
		return -1;
	if (fill_and_seal(copy, text_fd, err) < 0)
		return -1;
	if (while_injecting(copy, populate, err) < 0)
		return -1;
	return switch_alone(copy, err);
}

int remap_copy(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
               const struct settings *settings, enum backing backing, int text_fd, struct error *err)
{
	struct copy copy = {
	    .tracee = tracee,
	    .plan = plan,
	    .settings = settings,
	    .backing = backing == BACKING_HUGETLB ? &backing_hugetlb : &backing_thp,
	    .text = &space->mappings[plan->map_index],
	    .prot = text_prot(tracee->pid, plan->ranges[0].start, plan->ranges[plan->range_count - 1].end),
	    .page_bytes = plan->page_bytes,
	    .memfd = -1,
	    .tracee_fd = -1,
	};
	copy.keeps_fd = copy.backing->can_move && !copy.backing->can_move(copy.page_bytes);
	/* Below the text of a program that runs, so that its smaps need not be read beyond its heap
	 * (remap_read_smaps()). */
	if (tracee->process)
		copy.gap_addr = address_space_find_gap(space, plan->map_index, plan->range_bytes, plan->page_bytes, 0);
	if (!copy.gap_addr)
		copy.gap_addr = address_space_find_gap(space, space->count - 1, plan->range_bytes, plan->page_bytes, 0);
	if (plan->range_bytes > COPY_MAX_BYTES) {
		char text[16];
		return error_set(err, REASON_TEXT_LARGE, "no copy is made of %s",
		                 size_format(plan->range_bytes, text, sizeof text));
	}
	if (!copy.gap_addr)
		return error_set(err, REASON_ADDRESS_SPACE_LIMIT,
		                 "no free address range for a second mapping of the text; raise RLIMIT_AS");
	if (copy.backing->check(tracee->pid, plan->range_bytes, settings, err) < 0)
		return -1;
	int result = make_copy_and_switch(&copy, text_fd, err);
	if ((copy.aside_bytes || copy.tracee_fd >= 0) && tracee->state == TRACEE_STOPPED)
		while_injecting(&copy, clean_up, NULL);
	start_others(&copy);
	if (copy.memfd >= 0)
		close(copy.memfd);
	return result;
}
