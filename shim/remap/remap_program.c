/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/remap_program.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/size.h"
#include "host/host.h"
#include "mm/cow_pages.h"
#include "mm/mapped_file.h"
#include "mm/maps.h"
#include "remap/copy_rest.h"
#include "remap/elf_object.h"
#include "remap/libraries.h"
#include "remap/plan.h"
#include "remap/shared_store.h"

/* A library of the report's that was to be on huge pages, and is not; NULL: none. */
static const struct report_object *refused_library(const struct report *report)
{
	for (unsigned i = 1; i < report->object_count; i++) {
		const struct report_object *object = &report->objects[i];
		if (object->end != 0 && object->huge_bytes == 0 && error_is_set(&object->reason))
			return object;
	}
	return NULL;
}

/* The report as a whole, from its objects: the program is the first. */
static void sum_up(struct report *report)
{
	report->text_bytes = report->huge_bytes = report->copied_bytes = 0;
	report->backing = BACKING_NONE;
	for (unsigned i = 0; i < report->object_count; i++) {
		const struct report_object *object = &report->objects[i];
		if (object->end == 0) /* not mapped yet */
			continue;
		report->text_bytes += object->text_bytes;
		report->huge_bytes += object->huge_bytes;
		report->copied_bytes += object->copied_bytes;
		if (report->backing == BACKING_NONE)
			report->backing = object->backing;
	}
	if (report->object_count > 0)
		report->reason = report->objects[0].reason;
	bool nothing_to_do = is_nothing_to_do(&report->reason);
	report->outcome = report->huge_bytes > 0 ? OUTCOME_REMAPPED : nothing_to_do ? OUTCOME_SKIPPED : OUTCOME_FAILED;
	/* A small program whose libraries are what counts: no reason to give. */
	if (report->outcome == OUTCOME_REMAPPED && nothing_to_do)
		report->reason = (struct error){0};
	char size[16];
	if (report->outcome == OUTCOME_SKIPPED && report->prepared_bytes > 0)
		error_set(
		    &report->reason, REASON_LIBRARIES_PREPARED,
		    "the page cache holds %s of its libraries in huge pages, which the kernel maps as they are used",
		    size_format(report->prepared_bytes, size, sizeof size));
	const struct report_object *refused = refused_library(report);
	if (report->outcome == OUTCOME_SKIPPED && report->prepared_bytes == 0 && refused) {
		report->outcome = OUTCOME_FAILED;
		error_set(&report->reason, refused->reason.code, "%s: %s", basename(refused->path),
		          refused->reason.detail);
	}
}

/* Whether MAPPING is a copy that we have made of text, now or before, for one process or for all. */
static bool is_copy(const struct mapping *mapping)
{
	return mapping_is_text(mapping) &&
	       (strncmp(mapping->path, "/memfd:", 7) == 0 || shared_has_path(mapping->path));
}

/* Whether the mapping I is of the file at MAP_INDEX, or a copy of its text. */
static bool is_part(const struct address_space *space, size_t i, size_t map_index)
{
	const struct mapping *mapping = &space->mappings[i];
	return mapping_same_file(mapping, &space->mappings[map_index]) || is_copy(mapping);
}

/* What has run may have been remapped before: its text is also what copies lie beside or between the rest. */
static void note_copies(const struct address_space *space, size_t map_index, struct report_object *out)
{
	size_t first = map_index, last = map_index;
	while (first > 0 && is_part(space, first - 1, map_index))
		first--;
	while (last + 1 < space->count && is_part(space, last + 1, map_index))
		last++;
	out->start = space->mappings[first].start;
	out->end = space->mappings[last].end;
}

/* Text between START and END, copies among it. */
static uint64_t text_bytes_between(const struct address_space *space, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (mapping_is_text(mapping) && mapping->start >= start && mapping->end <= end)
			bytes += mapping->end - mapping->start;
	}
	return bytes;
}

/*
 * Measure OUT, the object at MAP_INDEX of a process that has run, with the copies that were made of it before. If
 * nothing was CHANGED, and text of it is on huge pages: say so, whatever kept us from doing more.
 */
static void measure_with_copies(pid_t pid, const struct address_space *space, size_t map_index, bool changed,
                                struct report_object *out)
{
	note_copies(space, map_index, out);
	objects_measure(pid, out, 1);
	if (out->huge_bytes == 0)
		return;
	out->text_bytes = text_bytes_between(space, out->start, out->end);
	if (!changed)
		error_set(&out->reason, REASON_ALREADY_HUGE, "%s was on huge pages already",
		          out->huge_bytes < out->text_bytes ? "some of its text" : "its text");
}

/* How long the tracee may be held for all that SPACE has of text. */
static void limit_time(struct tracee *tracee, const struct address_space *space, const struct settings *settings)
{
	uint64_t text_bytes = text_bytes_between(space, 0, UINT64_MAX);
	if (tracee->held_since_us)
		tracee->held_until_us = tracee->held_since_us + (int64_t)settings_hold_ms(settings, text_bytes) * 1000;
}

/* What is mapped, and for how long TRACEE may be held for it. Returns 0; or -1, and REPORT says why. */
static int begin(struct tracee *tracee, const struct settings *settings, struct address_space *space,
                 struct report *report)
{
	report->outcome = OUTCOME_FAILED;
	report->backing = BACKING_NONE;
	if (tracee_check_native(tracee, &report->reason) < 0) {
		report->outcome = is_nothing_to_do(&report->reason) ? OUTCOME_SKIPPED : OUTCOME_FAILED;
		return -1;
	}
	if (address_space_read(tracee->pid, space, &report->reason) < 0)
		return -1;
	limit_time(tracee, space, settings);
	return 0;
}

/* Room for the program in the report. NULL: out of memory, and REPORT says it. */
static struct report_object *add_program(struct report *report)
{
	struct report_object *out = report_add_object(report);
	if (!out)
		error_set_errno(&report->reason, ENOMEM, REASON_IMAGE, "what is to be reported");
	return out;
}

/* All is done that was to be done to PROGRAM. */
static void conclude(const struct elf_object *program, struct report *report)
{
	report->rebased = program->rebased;
	sum_up(report);
	fault_point("verified");
}

void remap_program(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	struct address_space space;
	if (begin(tracee, settings, &space, report) < 0)
		return;
	struct report_object *out = space.has_exe ? add_program(report) : NULL;
	if (!space.has_exe)
		error_set(&report->reason, REASON_NO_TEXT, "the program is no mapped file");
	if (out) {
		struct elf_object program = {tracee,          &space, settings, space.exe_index, .is_program = true,
		                             .may_move = true};
		if (elf_object_remap(&program, out))
			objects_measure(tracee->pid, out, 1);
		conclude(&program, report);
	}
	address_space_free(&space);
}

/* A program that has run: it stays where it is, and some of its text may be on huge pages already. */
static void run_attached_program(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	struct address_space space;
	if (begin(tracee, settings, &space, report) < 0)
		return;
	bool has_exe = mapped_file_find_exe(&space, tracee->pid, &report->reason) == 0;
	struct report_object *out = has_exe ? add_program(report) : NULL;
	if (out) {
		struct elf_object program = {tracee, &space, settings, space.exe_index, .is_program = true};
		private_pages_note(&space, space.exe_index, tracee->pid);
		bool changed = elf_object_remap(&program, out);
		measure_with_copies(tracee->pid, &space, space.exe_index, changed, out);
		conclude(&program, report);
	}
	address_space_free(&space);
}

/* Whether TRACEE_ADDR lies in an object of the report's: the program's copy is a mapping of another file by now. */
static bool is_reported(const struct report *report, uint64_t tracee_addr)
{
	for (unsigned i = 0; i < report->object_count; i++) {
		if (tracee_addr >= report->objects[i].start && tracee_addr < report->objects[i].end)
			return true;
	}
	return false;
}

/* The first text mapping of a library that the settings want, and that the list of objects does not have yet. */
static bool is_wanted_library(const struct address_space *space, size_t i, const struct settings *settings,
                              const struct report *report)
{
	const struct mapping *mapping = &space->mappings[i];
	if (!mapping_is_text(mapping) || mapping->path[0] != '/' || is_copy(mapping) ||
	    is_reported(report, mapping->start) || mapping_same_file(mapping, &space->mappings[space->exe_index]))
		return false;
	for (size_t before = i; before > 0; before--) {
		if (mapping_same_file(&space->mappings[before - 1], mapping) &&
		    mapping_is_text(&space->mappings[before - 1]))
			return false;
	}
	return library_is_wanted(settings, mapping->path, false);
}

static bool is_copied(const struct report_object *object)
{
	return object->backing == BACKING_HUGETLB || object->backing == BACKING_THP;
}

/* Add what was done about the library at MAP_INDEX to the report. Returns whether its mappings were changed. */
static bool run_library(struct tracee *tracee, struct address_space *space, size_t map_index,
                        const struct settings *settings, bool is_loaded, struct report *report)
{
	struct report_object *out = report_add_object(report);
	if (!out)
		return false;
	struct elf_object library = {tracee, space, settings, map_index, .is_program = false, .is_loaded = is_loaded};
	private_pages_note(space, map_index, tracee->pid);
	for (unsigned i = 0; i + 1 < report->object_count; i++)
		library.has_perf_map |= is_copied(&report->objects[i]);
	bool changed = elf_object_remap(&library, out);
	if (!is_loaded && !changed) {
		measure_with_copies(tracee->pid, space, map_index, changed, out);
	}
	if (is_nothing_to_do(&out->reason))
		report->object_count--;
	return changed;
}

/* All libraries; no thread runs. IS_LOADED: the program stands at its entry point. */
static void run_libraries(struct tracee *tracee, const struct settings *settings, bool is_loaded, struct report *report)
{
	struct address_space space;
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return;
	limit_time(tracee, &space, settings);
	/* Addresses stay as they are while libraries are remapped, but splitting a mapping shifts the indices: start
	 * anew. */
	uint64_t done_up_to = 0;
	for (size_t i = 0; i < space.count && tracee->state == TRACEE_STOPPED; i++) {
		if (space.mappings[i].start < done_up_to || !is_wanted_library(&space, i, settings, report))
			continue;
		done_up_to = space.mappings[i].end;
		struct address_space now;
		if (run_library(tracee, &space, i, settings, is_loaded, report) && tracee->state == TRACEE_STOPPED &&
		    address_space_read(tracee->pid, &now, NULL) == 0) {
			address_space_free(&space);
			space = now;
			i = 0;
		}
	}
	address_space_free(&space);
	objects_measure(tracee->pid, report->objects, report->object_count);
	sum_up(report);
}

/* Whether text of the program, which has some on huge pages, can be had only once ld.so has done its work. */
static bool program_waits(const struct tracee *tracee, const struct settings *settings, const struct report *report)
{
	struct address_space space;
	if (report->objects[0].huge_bytes == 0 || tracee_auxv(tracee, AT_BASE) == 0 ||
	    address_space_read(tracee->pid, &space, NULL) < 0)
		return false;
	/* The entry point may be in a copy by now. */
	bool waits = mapped_file_find_exe(&space, tracee->pid, NULL) == 0 &&
	             rest_waits_for_loader(tracee, &space.mappings[space.exe_index], settings);
	address_space_free(&space);
	return waits;
}

/* What program_waits() has waited for. */
static void run_rest(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	struct address_space space;
	struct report_object *out = report->object_count > 0 ? &report->objects[0] : NULL;
	if (!out || out->huge_bytes == 0 || settings->coverage != COVERAGE_FULL ||
	    address_space_read(tracee->pid, &space, NULL) < 0)
		return;
	struct elf_object program = {tracee, &space, settings, space.exe_index, .is_program = true, .is_loaded = true};
	program.has_perf_map = is_copied(out);
	if (mapped_file_find_exe(&space, tracee->pid, NULL) == 0) {
		program.map_index = space.exe_index;
		private_pages_note(&space, space.exe_index, tracee->pid);
		elf_object_copy_rest(&program, out);
	}
	address_space_free(&space);
}

enum libraries_need remap_prepare_libraries(struct tracee *tracee, const struct settings *settings,
                                            struct report *report, struct awaited_libraries *awaited)
{
	if (report->object_count == 0) /* not even the program could be looked at */
		return settings->libraries ? LIBRARIES_NEED_STOP : LIBRARIES_NEED_NOTHING;
	enum libraries_need need = libraries_prepare(tracee, settings, report, awaited);
	if (need != LIBRARIES_NEED_STOP && settings->coverage == COVERAGE_FULL &&
	    program_waits(tracee, settings, report))
		need = LIBRARIES_NEED_STOP;
	sum_up(report);
	return need;
}

void remap_libraries(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	/* A constructor may have started threads: text must not be switched under them. */
	if (host_is_single_threaded(tracee->pid)) {
		run_rest(tracee, settings, report);
		run_libraries(tracee, settings, true, report);
	} else if (report->outcome != OUTCOME_FAILED)
		error_set(&report->reason, REASON_THREADS_BUSY,
		          "its libraries are left alone: one has started threads");
}

void remap_running(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	run_attached_program(tracee, settings, report);
	if (settings->libraries && tracee->state == TRACEE_STOPPED)
		run_libraries(tracee, settings, false, report);
}

void remap_awaited(struct tracee *tracee, const struct settings *settings, const struct awaited_library *library,
                   struct report *report)
{
	struct address_space space;
	if (begin(tracee, settings, &space, report) < 0)
		return;
	ssize_t at = awaited_library_find(&space, library);
	if (at >= 0) {
		run_library(tracee, &space, (size_t)at, settings, false, report);
		objects_measure(tracee->pid, report->objects, report->object_count);
		sum_up(report);
	} else {
		report->outcome = OUTCOME_SKIPPED;
		error_set(&report->reason, REASON_NO_TEXT, "%s is not mapped any more", library->path);
	}
	address_space_free(&space);
}
