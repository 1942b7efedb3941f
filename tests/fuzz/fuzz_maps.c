/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of /proc: maps, smaps, stat, cgroup and mountinfo, and the words of an auxiliary vector in front of them.
 */
#include "base/proc.h"
#include "ctl/text_objects.h"
#include "fuzzing.h"
#include "host/cgroup.h"
#include "mm/maps.h"
#include "mm/smaps.h"
#include "ptrace/auxv.h"
#include "remap/private_copy.h"

#define AUXV_WORDS 8
#define GAP_BYTES  (UINT64_C(6) << 20)
#define GAP_ALIGN  (UINT64_C(2) << 20)

static void check_gap(const struct address_space *space, uint64_t phase)
{
	uint64_t gap = address_space_find_gap(space, space->count - 1, GAP_BYTES, GAP_ALIGN, phase);
	if (!gap)
		return;
	MUST(gap % GAP_ALIGN == phase && gap + GAP_BYTES > gap);
	for (size_t i = 0; i < space->count; i++)
		MUST(gap >= space->mappings[i].end || gap + GAP_BYTES <= space->mappings[i].start);
}

static void check_image(const char *text, const uint64_t auxv[AUXV_WORDS])
{
	struct address_space space;
	struct error err = {0};
	if (address_space_parse(text, auxv, AUXV_WORDS, 4096, &space, &err) < 0) {
		MUST(error_is_set(&err));
		return;
	}
	for (size_t i = 0; i < space.count; i++) {
		const struct mapping *mapping = &space.mappings[i];
		MUST(mapping->start < mapping->end && ((mapping->start | mapping->end) & 4095) == 0);
		MUST(i == 0 || mapping[-1].end <= mapping->start);
		MUST(address_space_find(&space, mapping->start) == (ssize_t)i &&
		     address_space_find(&space, mapping->end - 1) == (ssize_t)i);
		MUST(strlen(mapping->path) < 4096);
	}
	MUST(!space.has_exe || space.exe_index < space.count);
	check_gap(&space, 0);
	check_gap(&space, 0x3000);
	address_space_free(&space);
}

static void check_smaps(const char *text)
{
	struct smaps_cursor cursor = smaps_cursor(text);
	struct smaps_entry entry;
	const char *before = text;
	while (smaps_next(&cursor, &entry) == 1) {
		MUST(cursor.at > before && cursor.at <= text + strlen(text));
		before = cursor.at;
	}
	enum backing how = BACKING_NONE;
	remap_huge_bytes(text, 0, UINT64_MAX, &how);
	struct text_objects objects;
	if (text_objects_read(text, &objects) < 0)
		return;
	for (size_t i = 0; i < objects.count; i++) {
		char name[256];
		MUST(strlen(text_object_name(&objects.list[i], name, sizeof name)) < sizeof name);
	}
	text_objects_free(&objects);
}

static void check_words(const char *text, const uint64_t auxv[AUXV_WORDS])
{
	uint64_t fields[STAT_FIELDS];
	unsigned count = auxv_word_count(auxv, AUXV_WORDS);
	MUST(count <= AUXV_WORDS && (count == 0 || auxv[count - 2] == 0));
	proc_stat_parse(text, fields);
	MUST(proc_stat_state(text) != ')');
	const char *second = strstr(text, "\n\n");
	struct cgroup_place place;
	if (cgroup_find_in(text, second ? second + 2 : text, "memory", &place) == 0)
		MUST(memchr(place.directory, '\0', sizeof place.directory) &&
		     memchr(place.mount, '\0', sizeof place.mount));
	cgroup_find_in(text, second ? second + 2 : text, "hugetlb", &place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint64_t auxv[AUXV_WORDS];
	input_bytes(&input, auxv, sizeof auxv);
	/* Heap memory of its exact length, so that a look behind the end is seen. */
	char *text = malloc(input.left + 1);
	MUST(text);
	memcpy(text, input.at, input.left);
	text[input.left] = '\0';
	check_image(text, auxv);
	check_smaps(text);
	check_words(text, auxv);
	free(text);
	return 0;
}
