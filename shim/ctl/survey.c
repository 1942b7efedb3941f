/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/survey.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "host/pages.h"
#include "remap/text_blocks.h"

#define SMAPS_LIMIT      (256 * MIB)
#define HEADERS_MS       2000
#define MOSTLY           0.5   /* of an object's text on huge pages: it is on them */
#define READ_SHARE_LEAST 0.005 /* of the time: for less no file is opened */

/* With counts, if the process is still there. */
static void read_smaps(struct watch *watch, struct watched_process *process)
{
	char path[64];
	cleanup_free char *smaps = NULL;
	struct exec_ranges ranges;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)process->pid);
	if (read_file_at(AT_FDCWD, path, SMAPS_LIMIT, &smaps, NULL) < 0 ||
	    exec_ranges_read(smaps, &watch->objects, &ranges) < 0)
		return;
	if (ranges.count == 0) { /* it has ended, and waits to be reaped */
		exec_ranges_free(&ranges);
		return;
	}
	exec_ranges_free(&process->ranges);
	process->ranges = ranges;
}

/* Of the process that has the most of it. */
static void measure(const struct exec_ranges *ranges, struct surveyed *out)
{
	uint64_t text_bytes = 0, rss_bytes = 0, huge_bytes = 0;
	for (size_t i = 0; i < ranges->count; i++) {
		const struct exec_range *range = &ranges->list[i];
		if (range->object != out->index)
			continue;
		text_bytes += range->end - range->start;
		rss_bytes += range->rss_bytes;
		huge_bytes += range->huge_bytes;
	}
	out->text_bytes = text_bytes > out->text_bytes ? text_bytes : out->text_bytes;
	out->rss_bytes = rss_bytes > out->rss_bytes ? rss_bytes : out->rss_bytes;
	out->huge_bytes = huge_bytes > out->huge_bytes ? huge_bytes : out->huge_bytes;
}

static bool has_object(const struct watched_process *process, unsigned object)
{
	for (size_t i = 0; i < process->ranges.count; i++) {
		if (process->ranges.list[i].object == object)
			return true;
	}
	return false;
}

static bool is_exe(const struct watched_process *process, const char *path)
{
	char link[64], exe[PATH_MAX];
	snprintf(link, sizeof link, "/proc/%d/exe", (int)process->pid);
	ssize_t length = readlink(link, exe, sizeof exe - 1);
	if (length < 0)
		return false;
	exe[length] = '\0';
	return strcmp(exe, path) == 0;
}

/* The file as PROCESS sees it, if it is still the same; -1: it is not there. */
static int open_object(const struct watched_process *process, const struct code_object *object)
{
	char path[PATH_MAX + 64];
	struct stat about;
	snprintf(path, sizeof path, "/proc/%d/root%s", (int)process->pid, object->path);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) /* it has ended */
		fd = open(object->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &about) < 0 || !S_ISREG(about.st_mode) || about.st_ino != object->inode)
		return -1;
	return steal_fd(&fd);
}

static void expect(const struct watched_process *process, struct surveyed *out)
{
	struct reader reader;
	struct elf_info elf;
	struct text_slots slots;
	struct error err = {0};
	cleanup_close int fd = out->object->is_jit ? -1 : open_object(process, out->object);
	if (fd < 0 || elf_reader_start(&reader, fd, &err) < 0 || elf_reader_finish(&reader, HEADERS_MS, &elf, &err) < 0)
		return;
	if (out->is_program)
		text_slots_rounded(&elf, host_pages(), &slots);
	else
		text_slots_of(&elf, true, host_pages()->huge_bytes, &slots);
	out->text_bytes = out->text_bytes ? out->text_bytes : slots.text_bytes;
	out->expected_bytes = slots.slot_bytes < out->text_bytes ? slots.slot_bytes : out->text_bytes;
	out->is_expected = true;
}

static void look(struct watch *watch, struct surveyed *out)
{
	const struct watched_process *one = NULL;
	for (size_t i = 0; i < watch->process_count; i++) {
		const struct watched_process *process = &watch->processes[i];
		if (!has_object(process, out->index))
			continue;
		measure(&process->ranges, out);
		if (!one || is_exe(process, out->object->path))
			one = process;
		out->is_program |= is_exe(process, out->object->path);
	}
	if (one && out->time_share >= READ_SHARE_LEAST)
		expect(one, out);
}

static int most_first(const void *left, const void *right)
{
	double a = ((const struct surveyed *)left)->time_share, b = ((const struct surveyed *)right)->time_share;
	return (a < b) - (a > b);
}

static void choose(struct watch *watch, uint64_t samples, struct survey *out)
{
	struct surveyed *all = calloc(watch->objects.count + 1, sizeof all[0]);
	unsigned count = 0;
	for (size_t i = 0; all && i < watch->objects.count; i++) {
		all[count] = (struct surveyed){.object = &watch->objects.list[i], .index = (unsigned)i};
		touched_estimate(&watch->pages, (int)i, &all[count].touched);
		all[count].time_share = samples ? (double)all[count].touched.samples / (double)samples : 0;
		count += all[count].touched.samples > 0;
	}
	if (count)
		qsort(all, count, sizeof all[0], most_first);
	out->count = count < SURVEYED_MAX ? count : SURVEYED_MAX;
	if (out->count)
		memcpy(out->list, all, out->count * sizeof all[0]);
	free(all);
}

static double part(uint64_t bytes, uint64_t of_bytes)
{
	return of_bytes ? (double)bytes / (double)of_bytes : 0;
}

void survey_make(struct watch *watch, struct survey *out)
{
	*out = (struct survey){.input.page_bytes = host_pages()->base_bytes,
	                       .input.seconds = watch->seconds,
	                       .input.has_counters = watch->has_counters};
	struct advice_input *input = &out->input;
	for (size_t i = 0; i < watch->process_count; i++)
		read_smaps(watch, &watch->processes[i]);
	touched_estimate(&watch->pages, -1, &input->touched);
	arch_tlb_sizes(&input->tlb);
	input->beyond_first = touched_beyond(&watch->pages, input->tlb.first);
	input->beyond_second = touched_beyond(&watch->pages, advice_second_entries(&input->tlb));
	memcpy(input->counts, watch->counts, sizeof input->counts);
	choose(watch, input->touched.samples, out);
	for (unsigned i = 0; i < out->count; i++) {
		struct surveyed *one = &out->list[i];
		look(watch, one);
		if (one->object->is_jit)
			input->jit_share += one->time_share;
		else if (part(one->huge_bytes, one->text_bytes) >= MOSTLY)
			input->huge_share += one->time_share;
		input->covered_share += one->time_share * part(one->expected_bytes, one->text_bytes);
	}
}

uint64_t surveyed_more_bytes(const struct surveyed *surveyed)
{
	return surveyed->expected_bytes > surveyed->rss_bytes ? surveyed->expected_bytes - surveyed->rss_bytes : 0;
}
