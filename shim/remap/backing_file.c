/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/backing_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/missing.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/mapped_file.h"
#include "ptrace/inject.h"
#include "remap/page_cache.h"
#include "remap/plan_in_place.h"
#include "remap/relocate.h"
#include "remap/widen.h"

/* The object's largest text mapping: the one that offset and address shall agree for. */
static const struct mapping *largest_text(const struct address_space *space, size_t map_index)
{
	const struct mapping *object = &space->mappings[map_index];
	const struct mapping *largest = NULL;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (mapping_same_file(mapping, object) && mapping_is_text(mapping) &&
		    (!largest || mapping->end - mapping->start > largest->end - largest->start))
			largest = mapping;
	}
	return largest;
}

/*
 * The plan as it will be once the object has moved up by PHASE. What lies around it then is not known yet: it is
 * planned anew when it has moved.
 */
static int plan_moved(const struct address_space *space, size_t map_index, uint64_t phase,
                      const struct settings *settings, uint64_t file_bytes, struct plan *plan, struct error *err)
{
	cleanup_free struct mapping *moved = malloc(space->count * sizeof moved[0]);
	struct address_space copy = {.mappings = moved};
	size_t moved_index = 0;
	if (!moved)
		return error_set_errno(err, ENOMEM, REASON_FILE_UNSUPPORTED, "planning");
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		bool own = mapping_same_file(mapping, &space->mappings[map_index]);
		if (i == map_index)
			moved_index = copy.count;
		if (!own && phase)
			continue;
		moved[copy.count] = *mapping;
		moved[copy.count].start += own ? phase : 0;
		moved[copy.count++].end += own ? phase : 0;
	}
	plan_in_place(&copy, moved_index, settings, file_bytes, host_pages()->huge_bytes, plan);
	if (plan->range_count > 0)
		return 0;
	*err = plan->reason;
	return -1;
}

/*
 * A library's pages are mapped by the very process that is to get them huge, because ld.so has run, and mapped pages
 * cannot be read anew. Nothing in them is its own (the caller has checked), so its page table entries may go.
 */
static int unmap_small_pages(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
                             struct error *err)
{
	if (others_stop_around(tracee, space, plan, err) < 0)
		return -1;
	int result = inject_begin(tracee, err);
	for (unsigned i = 0; i < plan->range_count && tracee->state == TRACEE_INJECTING; i++)
		remote_syscall(tracee, NULL, SYS_madvise, plan->ranges[i].start,
		               plan->ranges[i].end - plan->ranges[i].start, MADV_DONTNEED, 0, 0, 0);
	result = result < 0 ? -1 : inject_end(tracee, err);
	others_start(tracee);
	return result;
}

static int prepare_page_cache(const struct tracee *tracee, const struct plan *plan, int fd,
                              const struct settings *settings, bool take_part, struct error *err)
{
	unsigned timeout_ms = (unsigned)tracee_time_left_ms(tracee, (int)settings->file_timeout_ms);
	struct file_range ranges[PLAN_RANGES_MAX];
	uint64_t huge_bytes = 0;
	for (unsigned i = 0; i < plan->range_count; i++)
		ranges[i] = (struct file_range){plan->pieces[plan->ranges[i].first_piece].file_off,
		                                plan->ranges[i].end - plan->ranges[i].start};
	if (page_cache_make_huge(fd, ranges, plan->range_count, timeout_ms, &huge_bytes, err) < 0)
		return -1;
	fault_point("file-prepared");
	if (huge_bytes == 0 || (huge_bytes < plan->range_bytes && !take_part))
		return -1;
	return 0;
}

static int refused(int64_t result, const char *what, struct error *err)
{
	if (result == INT64_MIN)
		return -1;
	return error_set_errno(err, (int)-result, REASON_FILE_UNSUPPORTED, "%s in the workload", what);
}

/* All that is mapped as text from RANGE on downwards and upwards. */
static void text_around(const struct address_space *space, const struct plan_range *range, uint64_t *start,
                        uint64_t *end)
{
	ssize_t first = address_space_find(space, range->start), last = address_space_find(space, range->end - 1);
	*start = range->start;
	*end = range->end;
	if (first >= 0 && mapping_is_text(&space->mappings[first]))
		*start = space->mappings[first].start;
	if (last >= 0 && mapping_is_text(&space->mappings[last]))
		*end = space->mappings[last].end;
}

/*
 * Have the kernel map a huge page wherever the cache has one in RANGE, as a first touch of each slot would. From here,
 * without a stop of the tracee; what the page tables take is charged to us, so one that is to pay for itself makes the
 * call itself, as does one that may not read its text.
 */
static int64_t touch_slots(struct tracee *tracee, const struct plan_range *range, struct error *err)
{
	uint64_t bytes = range->end - range->start, huge_bytes = host_pages()->huge_bytes;
	if (!tracee->charges_itself && tracee_touch(tracee, range->start, bytes, huge_bytes) == 0)
		return 0;
	return remote_syscall(tracee, err, SYS_madvise, range->start, bytes, MADV_POPULATE_READ, 0, 0, 0);
}

/*
 * With the tracee borrowed: map all slots now. MADV_HUGEPAGE on the whole mapping, so that the kernel does not split it
 * and reads whole folios again should it ever have to drop them.
 */
static int populate(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
                    struct error *err)
{
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		uint64_t start, end;
		text_around(space, range, &start, &end);
		remote_syscall(tracee, NULL, SYS_madvise, start, end - start, MADV_HUGEPAGE, 0, 0, 0);
		if (tracee->state == TRACEE_GONE)
			return -1;
		int64_t result = touch_slots(tracee, range, err);
		if (result < 0)
			return refused(result, "madvise(MADV_POPULATE_READ)", err);
	}
	return 0;
}

int populate_text(struct tracee *tracee, const struct address_space *space, const struct plan *plan, struct error *err)
{
	if (inject_begin(tracee, err) < 0)
		return -1;
	int result = populate(tracee, space, plan, err);
	if (tracee->state == TRACEE_GONE)
		return -1;
	if (inject_end(tracee, err) < 0)
		return -1;
	return result;
}

/* Rebase, and read the address space anew, in which the program has other addresses. */
static int move_program(struct tracee *tracee, struct address_space *space, size_t *map_index, int fd, uint64_t phase,
                        bool *rebased, struct error *err)
{
	struct address_space moved;
	if (relocate(tracee, space, fd, phase, err) < 0)
		return -1;
	*rebased = true;
	/* Whatever comes next must not plan with addresses that the program has left. */
	address_space_free(space);
	if (address_space_read(tracee->pid, &moved, err) < 0)
		return -1;
	*space = moved;
	*map_index = space->exe_index;
	return 0;
}

/*
 * Once all is prepared and in its place: map the slots at the ends, plan what is left if that fails, and populate.
 * PARTLY: why not all is huge, if that is known already; it goes into the plan.
 */
static int map_slots(struct tracee *tracee, const struct address_space *space, size_t map_index,
                     const struct settings *settings, int fd, uint64_t file_bytes, struct error *partly,
                     struct plan *plan, struct error *err)
{
	struct settings inside = *settings;
	struct error unwidened = {0};
	inside.round_out = false;
	if (plan_moved(space, map_index, 0, settings, file_bytes, plan, err) < 0)
		return -1;
	if (widen_text(tracee, space, plan, fd, &unwidened) < 0) {
		if (tracee->state == TRACEE_GONE ||
		    plan_moved(space, map_index, 0, &inside, file_bytes, plan, err) < 0) {
			*err = unwidened;
			return -1;
		}
		*partly = error_is_set(partly) ? *partly : unwidened;
	}
	plan->reason = *partly;
	return populate_text(tracee, space, plan, err);
}

/*
 * Read-only data comes by itself where the cache has it in huge pages, so nothing is done in the tracee, and if it
 * cannot be had nothing is lost.
 */
static void prepare_rodata(const struct tracee *tracee, const struct address_space *space, size_t map_index, int fd,
                           const struct settings *settings)
{
	struct plan plan;
	struct error ignored = {0};
	plan_rodata(space, map_index, host_pages()->huge_bytes, &plan);
	if (plan.range_count > 0)
		prepare_page_cache(tracee, &plan, fd, settings, true, &ignored);
}

int backing_file_plan(const struct address_space *space, size_t map_index, const struct settings *settings,
                      bool may_move, struct plan *plan, struct error *err)
{
	const struct mapping *text = largest_text(space, map_index);
	if (!text)
		return error_set(err, REASON_NO_TEXT, "it has no executable mapping");
	uint64_t phase = may_move && settings->rebase ? relocate_phase(text, host_pages()->huge_bytes) : 0;
	return plan_moved(space, map_index, phase, settings, UINT64_MAX, plan, err);
}

int backing_file_apply(struct tracee *tracee, struct address_space *space, size_t map_index,
                       const struct settings *settings, int fd, bool may_move, bool take_part, bool *rebased,
                       struct plan *plan, struct error *err)
{
	const struct mapping *text = largest_text(space, map_index);
	if (!text) {
		error_set(err, REASON_NO_TEXT, "it has no executable mapping");
		return -1;
	}
	if (mapped_file_is_remote(fd))
		return error_set(err, REASON_FILE_UNSUPPORTED,
		                 "another computer or a process serves it, and may not answer");
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, REASON_FILE_UNSUPPORTED, "looking at the file");
	bool moves = may_move && settings->rebase;
	uint64_t huge_bytes = host_pages()->huge_bytes;
	uint64_t phase = moves ? relocate_phase(text, huge_bytes) : 0, file_bytes = (uint64_t)st.st_size;
	if (plan_moved(space, map_index, phase, settings, file_bytes, plan, err) < 0) {
		if (!moves && relocate_phase(text, huge_bytes) && err->code == REASON_NO_HUGE_SLOT)
			error_set(err, REASON_FILE_MISALIGNED,
			          "offset and address of its text differ modulo a huge page%s",
			          may_move ? ", and rebase is off" : "");
		return -1;
	}
	if (phase && relocate_check(tracee, space, fd, phase, err) < 0)
		return -1;
	if (!may_move && unmap_small_pages(tracee, space, plan, err) < 0)
		return -1;
	struct error partly = {0};
	if (prepare_page_cache(tracee, plan, fd, settings, take_part, &partly) < 0) {
		*err = partly;
		return -1;
	}
	if (phase && move_program(tracee, space, &map_index, fd, phase, rebased, err) < 0)
		return -1;
	if (map_slots(tracee, space, map_index, settings, fd, file_bytes, &partly, plan, err) < 0)
		return -1;
	if (settings->rodata && may_move)
		prepare_rodata(tracee, space, map_index, fd, settings);
	return 0;
}
