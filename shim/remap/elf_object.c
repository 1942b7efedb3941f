/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/elf_object.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pages.h"
#include "mm/mapped_file.h"
#include "mm/maps.h"
#include "mm/page_scan.h"
#include "remap/backing.h"
#include "remap/backing_file.h"
#include "remap/copy_rest.h"
#include "remap/perf_map.h"
#include "remap/plan.h"
#include "remap/plan_rest.h"
#include "remap/private_copy.h"
#include "remap/shared_text.h"

#define SYMBOLS_MS 1000 /* of a process that runs already, which no policy limits the hold of */

bool is_nothing_to_do(const struct error *reason)
{
	return reason_class(reason->code) == REASON_CLASS_NOTHING_TO_DO;
}

/* Keep the first refusal's word; add the others' to the detail, so that nothing that was tried goes untold. */
static void add_refusal(struct error *all, enum backing backing, const struct error *refusal)
{
	if (!error_is_set(all)) {
		*all = *refusal;
		return;
	}
	bool is_same = all->code == refusal->code;
	if (is_same && (is_nothing_to_do(refusal) || strcmp(all->detail, refusal->detail) == 0))
		return;
	char text[ERROR_TEXT_BYTES];
	error_text(refusal, text, sizeof text);
	size_t used = strlen(all->detail);
	snprintf(all->detail + used, sizeof all->detail - used, "; %s: %s", backing_name(backing), text);
}

/* Try the backing at INDEX of the list. Returns 0 if the text is on huge pages now, else -1 with REFUSAL. */
static int try_backing(struct elf_object *object, unsigned index, int fd, struct plan *plan, struct error *refusal)
{
	const struct settings *settings = object->settings;
	enum backing backing = settings->backing[index];
	bool is_last = index + 1 == settings->backing_count;
	if (backing == BACKING_FILE) {
		int result = backing_file_apply(object->tracee, object->space, object->map_index, settings, fd,
		                                object->may_move, is_last, &object->rebased, plan, refusal);
		/* The address space may be a new one. */
		object->map_index = object->may_move ? object->space->exe_index : object->map_index;
		return result;
	}
	uint64_t page_bytes = backing == BACKING_HUGETLB ? hugetlb_page_bytes(settings) : host_pages()->huge_bytes;
	plan_make(object->space, object->map_index, settings, page_bytes, plan);
	if (plan->range_count == 0) {
		*refusal = plan->reason;
		return -1;
	}
	return remap_copy(object->tracee, object->space, plan, settings, backing, fd, refusal);
}

/* Whether ld.so has changed a library's text (text relocations): a copy of the file would be wrong then. */
static bool is_changed(const struct elf_object *object)
{
	const struct mapping *first = &object->space->mappings[object->map_index];
	for (size_t i = object->map_index; i < object->space->count; i++) {
		const struct mapping *mapping = &object->space->mappings[i];
		if (mapping_same_file(mapping, first) && mapping_is_text(mapping) && mapping->changed)
			return true;
	}
	return false;
}

/* The ranges of PLAN are the object's, too. */
static void note_ranges(const struct plan *plan, struct report_object *out)
{
	for (unsigned i = 0; i < plan->range_count; i++) {
		out->start = plan->ranges[i].start < out->start ? plan->ranges[i].start : out->start;
		out->end = plan->ranges[i].end > out->end ? plan->ranges[i].end : out->end;
	}
}

/* The object's address range: its text, and what rounding out adds to it. */
static void note_extent(const struct plan *plan, struct report_object *out)
{
	out->start = plan->text_start;
	out->end = plan->text_end;
	out->text_bytes = plan->text_bytes;
	note_ranges(plan, out);
}

static int is_in_time(const struct tracee *tracee, struct error *err)
{
	if (tracee_time_left_ms(tracee, 1) > 0)
		return 0;
	return tracee_hold_is_over(tracee, err);
}

struct map_errand {
	const struct elf_object *object;
	const struct plan *plan;
	int fd;
};

/* How long the symbols of an object may be waited for: half of what is left, for other objects are still to come. */
static int symbols_ms(const struct tracee *tracee)
{
	return tracee->held_until_us ? tracee_time_left_ms(tracee, INT_MAX) / 2 : SYMBOLS_MS;
}

/* Aside: the workload's /tmp may be on a disk that does not answer. */
static int write_map(void *context, struct error *err)
{
	const struct map_errand *errand = context;
	const struct elf_object *object = errand->object;
	int fd = mapped_file_readable(errand->fd);
	int result = perf_map_write(object->tracee->pid, errand->plan, fd, object->has_perf_map,
	                            symbols_ms(object->tracee), err);
	if (fd != errand->fd)
		close(fd);
	return result;
}

/* Tell perf of a private copy, if the policy wants that. */
static void tell_perf(const struct elf_object *object, enum backing backing, const struct plan *plan, int fd,
                      struct report_object *out)
{
	struct error unwritten = {0};
	struct map_errand errand = {object, plan, fd};
	if (object->settings->perf_map && tracee_work_aside(object->tracee, write_map, &errand, &unwritten) < 0)
		add_refusal(&out->reason, backing, &unwritten);
}

/* What may still be copied of an object that is in place. One that was copied whole has its ends copied, too. */
static uint64_t rest_bytes_max(const struct report_object *object)
{
	if (object->backing != BACKING_FILE)
		return UINT64_MAX;
	return object->copied_bytes < REST_BYTES_MAX ? REST_BYTES_MAX - object->copied_bytes : 0;
}

/* What all processes share of it costs this one nothing. Returns whether the text was changed. */
static bool map_shared(struct elf_object *object, const struct mapping *mapping, int fd, struct report_object *out)
{
	struct plan plan = {0};
	struct error refusal = {0};
	if (is_in_time(object->tracee, &refusal) < 0 ||
	    shared_text_map(object->tracee, mapping, object->settings, fd, &plan, &refusal) < 0)
		add_refusal(&out->reason, BACKING_FILE, &refusal);
	if (plan.range_count == 0)
		return false;
	note_ranges(&plan, out);
	out->shared_bytes += plan.range_bytes;
	return true;
}

static bool copy_rest_of(struct elf_object *object, int fd, struct report_object *out)
{
	struct plan plan;
	struct error refusal = {0};
	struct mapping mapping = object->space->mappings[object->map_index];
	bool is_changed_now = !object->is_program && map_shared(object, &mapping, fd, out);
	uint64_t max_bytes = rest_bytes_max(out);
	if (is_in_time(object->tracee, &refusal) < 0 || copy_rest(object->tracee, &mapping, object->settings, fd,
	                                                          object->is_loaded, max_bytes, &plan, &refusal) < 0) {
		add_refusal(&out->reason, BACKING_FILE, &refusal);
		return is_changed_now;
	}
	/* Of what shares a slot with data more is known when that has been relocated; a program that runs has no such
	 * moment, for any of its threads may change what is read-only now.
	 */
	bool runs = object->tracee->process != NULL;
	if (runs && plan.reason.code == REASON_DATA_BESIDE_TEXT)
		error_set(&plan.reason, REASON_DATA_BESIDE_TEXT,
		          "data that ld.so relocates shares a huge page with an end of its text, and of that a program "
		          "that runs gets no copy");
	if (error_is_set(&plan.reason) && (object->is_loaded || runs || plan.reason.code == REASON_COPY_LIMIT))
		add_refusal(&out->reason, BACKING_FILE, &plan.reason);
	if (plan.range_count == 0)
		return is_changed_now;
	note_ranges(&plan, out);
	tell_perf(object, BACKING_THP, &plan, fd, out);
	return true;
}

bool elf_object_copy_rest(struct elf_object *object, struct report_object *out)
{
	struct error ignored = {0};
	cleanup_close int fd = mapped_file_open(object->tracee->pid, &object->space->mappings[object->map_index],
	                                        object->is_program, &ignored);
	if (fd < 0 || is_changed(object))
		return false;
	return copy_rest_of(object, fd, out);
}

bool elf_object_remap(struct elf_object *object, struct report_object *out)
{
	const struct settings *settings = object->settings;
	struct tracee *tracee = object->tracee;
	struct plan plan = {0};
	*out = (struct report_object){.backing = BACKING_NONE};
	snprintf(out->path, sizeof out->path, "%s", object->space->mappings[object->map_index].path);
	cleanup_close int fd = mapped_file_open(tracee->pid, &object->space->mappings[object->map_index],
	                                        object->is_program, &out->reason);
	if (fd < 0)
		return false;
	if (is_changed(object))
		return error_set(&out->reason, REASON_TEXT_CHANGED, "its text is no longer what its file says") == 0;
	enum backing applied = BACKING_NONE;
	int done = -1;
	for (unsigned i = 0; i < settings->backing_count && done < 0 && tracee->state == TRACEE_STOPPED; i++) {
		if (object->space->count == 0) /* see backing_file_apply() */
			break;
		struct error refusal = {0};
		applied = settings->backing[i];
		done = is_in_time(tracee, &refusal) < 0 ? -1 : try_backing(object, i, fd, &plan, &refusal);
		if (done < 0)
			add_refusal(&out->reason, settings->backing[i], &refusal);
		if (refusal.code == REASON_TEXT_SEALED)
			break; /* to every copy */
	}
	if (done == 0 && !error_is_set(&out->reason))
		out->reason = plan.reason;
	if (done == 0 && applied != BACKING_FILE)
		tell_perf(object, applied, &plan, fd, out);
	if (done == 0)
		out->backing = applied;
	/* A plan that came to nothing may be one for where the object would have been moved to. */
	if (done < 0 && object->space->count > 0)
		plan_make(object->space, object->map_index, settings, host_pages()->huge_bytes, &plan);
	note_extent(&plan, out);
	if (done == 0 && settings->coverage == COVERAGE_FULL && object->space->count > 0)
		copy_rest_of(object, fd, out);
	return done == 0;
}

/*
 * How much of OBJECT's text is on huge pages, if all of it is still its file's; -1: copies are among it, or this
 * kernel does not tell without a look at smaps, which takes the longer the more text there is.
 */
static int64_t huge_bytes_in_place(pid_t pid, const struct report_object *object)
{
	char path[64];
	struct address_space space;
	const struct mapping *first = NULL;
	int64_t huge_bytes = 0;
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)pid);
	cleanup_close int pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (object->backing != BACKING_FILE || pagemap_fd < 0 || address_space_read(pid, &space, NULL) < 0)
		return -1;
	for (size_t i = 0; i < space.count && huge_bytes >= 0; i++) {
		const struct mapping *mapping = &space.mappings[i];
		if (!mapping_is_text(mapping) || mapping->start < object->start || mapping->end > object->end)
			continue;
		first = first ? first : mapping;
		int64_t bytes = mapping_same_file(mapping, first)
		                    ? page_scan_huge_bytes(pagemap_fd, mapping->start, mapping->end)
		                    : -1;
		huge_bytes = bytes < 0 ? -1 : huge_bytes + bytes;
	}
	bool has_text = first != NULL;
	address_space_free(&space);
	return has_text ? huge_bytes : -1;
}

/* What is left to be seen in smaps. */
static enum backing measure_by_smaps(const char *smaps, struct report_object *object)
{
	enum backing found = BACKING_NONE;
	object->huge_bytes = remap_huge_bytes(smaps, object->start, object->end, &found);
	object->copied_bytes = remap_copied_bytes(smaps, object->start, object->end);
	return found;
}

void objects_measure(pid_t pid, struct report_object *objects, unsigned count)
{
	uint64_t end_addr = 0;
	for (unsigned i = 0; i < count; i++)
		end_addr = objects[i].end > end_addr ? objects[i].end : end_addr;
	cleanup_free char *smaps = NULL;
	for (unsigned i = 0; i < count; i++) {
		enum backing found = BACKING_NONE;
		if (objects[i].end == 0) /* not mapped yet */
			continue;
		int64_t in_place_bytes = huge_bytes_in_place(pid, &objects[i]);
		if (in_place_bytes >= 0) {
			objects[i].huge_bytes = (uint64_t)in_place_bytes;
			objects[i].copied_bytes = 0;
		} else {
			smaps = smaps ? smaps : remap_read_smaps(pid, end_addr);
			found = measure_by_smaps(smaps, &objects[i]);
		}
		/* Text that is huge without our doing is the page cache's; and what was applied may have come to
		 * nothing. */
		if (objects[i].backing == BACKING_NONE || objects[i].huge_bytes == 0)
			objects[i].backing = found;
	}
}
