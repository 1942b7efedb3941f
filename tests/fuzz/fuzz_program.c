/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hugexec and its tracer look at in a stranger's file themselves: its first bytes, whether it is a program, a
 * script or neither, and the fixed-size entries of its program headers; and what is then said of the mappings of the
 * process.
 */
#include <elf.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzzing.h"
#include "mm/pt_load.h"
#include "tracer/exe_inspect.h"

#define PAGE UINT64_C(4096)

static bool is_in_segments(const struct segments *segments, uint64_t addr)
{
	for (unsigned i = 0; i < segments->count; i++) {
		if (addr >= segments->list[i].start && addr < segments->list[i].end)
			return true;
	}
	return false;
}

/* Of a mapping that begins or ends at the ends of segments, or beside them. */
static void check_hold(const struct segments *segments, struct input *input)
{
	uint64_t at = input_word(input);
	if (segments->count > 0 && at % 4 != 0)
		at = segments->list[at / 4 % segments->count].start + (at % 4 - 1) * PAGE;
	struct mapping mapping = {.start = at & ~(PAGE - 1)};
	mapping.end = mapping.start + (1 + input_byte(input) % 16) * PAGE;
	if (mapping.end < mapping.start)
		return;
	unsigned pages = 0, held = 0;
	for (uint64_t page = mapping.start; page < mapping.end; page += PAGE, pages++)
		held += is_in_segments(segments, page);
	MUST(segments_hold(segments, &mapping) == (held == pages ? SEGMENTS_ALL
	                                           : held > 0    ? SEGMENTS_PART
	                                                         : SEGMENTS_NOTHING));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct program program;
	struct segments segments;
	struct error err = {0};
	struct input input = {data, size};
	uint64_t entry_addr = (uint64_t)input_word(&input) << 12;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	MUST(fd >= 0 && write(fd, input.at, input.left) == (ssize_t)input.left);

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	program_inspect_path(path, &program);
	MUST(program.kind != PROGRAM_NOT_FOUND && strcmp(program.path, path) == 0);
	MUST(program.kind == PROGRAM_ELF || program.text_bytes == 0);

	if (segments_read(fd, entry_addr, PAGE, &segments, &err) < 0) {
		MUST(strcmp(reason_word(err.code), "rebase-refused") == 0 ||
		     strcmp(reason_word(err.code), "file-misaligned") == 0);
	} else {
		MUST(segments.count <= SEGMENTS_MAX && segments.align >= PAGE &&
		     (segments.align & (segments.align - 1)) == 0);
		for (unsigned i = 0; i < segments.count; i++)
			MUST(segments.list[i].start < segments.list[i].end && segments.list[i].start % PAGE == 0 &&
			     segments.list[i].end % PAGE == 0);
		check_hold(&segments, &input);
	}
	close(fd);
	return 0;
}
