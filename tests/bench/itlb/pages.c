/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "tlb.h"

#define BUCKETS   (1U << 16)
#define PAGE      (1UL << SMALL_PAGE_SHIFT)
#define PAGE_MASK (~(PAGE - 1))

struct mapping {
	uint64_t start, end; /* QEMU's addresses */
	uint64_t offset;
	struct object *object;
};

static struct code_page *buckets[BUCKETS], *all_pages;
static struct object *objects;
static struct mapping *mappings;
static size_t mapping_count, mapping_room;
static uint64_t qemu_mappings[1024]; /* where those start that are there before the guest's */
static size_t qemu_mapping_count;
static atomic_bool stale = true;
static unsigned generation, page_count, object_count;
static char program_path[PATH_MAX], loader_path[PATH_MAX];
static bool program_runs;

static void note_qemu_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	while (maps && fgets(line, sizeof line, maps) &&
	       qemu_mapping_count < sizeof qemu_mappings / sizeof *qemu_mappings)
		qemu_mappings[qemu_mapping_count++] = strtoull(line, NULL, 16);
	if (maps)
		fclose(maps);
}

static bool is_qemus(uint64_t start)
{
	for (size_t i = 0; i < qemu_mapping_count; i++) {
		if (qemu_mappings[i] == start)
			return true;
	}
	return false;
}

void pages_begin(const char *program, const char *root)
{
	char interpreter[PATH_MAX], path[2 * PATH_MAX];
	note_qemu_mappings();
	if (!realpath(program, program_path))
		snprintf(program_path, sizeof program_path, "%s", program);
	object_interpreter(program_path, interpreter, sizeof interpreter);
	snprintf(path, sizeof path, "%s%s", root, interpreter);
	if (!realpath(path, loader_path))
		loader_path[0] = '\0';
}

void pages_forget_mappings(void)
{
	stale = true;
}

static enum object_kind kind_of(const char *path)
{
	if (strcmp(path, program_path) == 0)
		return OBJECT_PROGRAM;
	if (strcmp(path, loader_path) == 0)
		return OBJECT_LOADER;
	return program_runs ? OBJECT_LATER : OBJECT_LIBRARY;
}

/* The object of PATH, known or new; NULL where it has no text. */
static struct object *object_of(const char *path)
{
	struct object **end = &objects;
	for (; *end; end = &(*end)->next) {
		if (strcmp((*end)->path, path) == 0)
			return *end;
	}
	struct object found;
	if (!object_read(path, &found))
		return NULL;
	found.kind = kind_of(path);
	found.id = object_count++;
	found.path = strdup(path);
	object_place(&found);
	*end = need(sizeof found);
	**end = found;
	return *end;
}

static void add_mapping(const char *line)
{
	struct mapping mapping;
	int path = 0;
	if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %n", &mapping.start, &mapping.end, &mapping.offset, &path) < 3 ||
	    line[path] != '/' || is_qemus(mapping.start))
		return;
	mapping.object = object_of(line + path);
	if (!mapping.object)
		return;
	if (mapping_count == mapping_room) {
		mapping_room = mapping_room ? 2 * mapping_room : 256;
		mappings = realloc(mappings, mapping_room * sizeof *mappings);
		if (!mappings)
			abort();
	}
	mappings[mapping_count++] = mapping;
}

static void read_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	mapping_count = 0;
	while (maps && fgets(line, sizeof line, maps)) {
		line[strcspn(line, "\n")] = '\0';
		add_mapping(line);
	}
	if (maps)
		fclose(maps);
}

static void read_mappings_if_stale(void)
{
	if (!atomic_exchange(&stale, false))
		return;
	generation++;
	read_mappings();
}

static const struct mapping *mapping_at(uint64_t host)
{
	size_t low = 0, high = mapping_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (host >= mappings[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < mapping_count && host >= mappings[low].start ? &mappings[low] : NULL;
}

/*
 * Code of the program itself, at OFFSET of its file, is about to run for the first time: ld.so is done, and what is
 * mapped from now on is dlopened.
 */
static void begin_program(const struct object *program, uint64_t address, uint64_t offset)
{
	read_mappings();
	program_runs = true;
	for (unsigned i = 0; i < program->segment_count; i++) {
		const struct object_segment *segment = &program->segments[i];
		if (segment->executable && offset >= segment->off && offset - segment->off < segment->bytes)
			data_begin(program, address - (segment->start + (offset - segment->off)));
	}
}

static struct code_page *page_new(uint64_t address, const struct object *object, uint64_t offset)
{
	struct code_page *page = need(sizeof *page);
	page->address = address;
	page->id = page_count++;
	page->object = object;
	page->offset = offset;
	if (object)
		layout_keys(object, offset, page->keys);
	for (unsigned i = 0; !object && i < LAYOUT_COUNT; i++)
		page->keys[i] = small_key(address);
	page->next = all_pages;
	all_pages = page;
	return page;
}

struct code_page *pages_get(uint64_t address, uint64_t host)
{
	read_mappings_if_stale();
	address &= PAGE_MASK;
	struct code_page **slot = &buckets[address >> SMALL_PAGE_SHIFT & (BUCKETS - 1)];
	while (*slot && (*slot)->address != address)
		slot = &(*slot)->next_in_bucket;
	struct code_page *page = *slot;
	if (page && page->generation == generation)
		return page;
	const struct mapping *mapping = mapping_at(host & PAGE_MASK);
	const struct object *object = mapping ? mapping->object : NULL;
	uint64_t offset = mapping ? mapping->offset + ((host & PAGE_MASK) - mapping->start) : 0;
	if (!program_runs && object && object->kind == OBJECT_PROGRAM)
		begin_program(object, address, offset);
	if (!page || page->object != object || page->offset != offset) {
		struct code_page *replaced = page;
		page = page_new(address, object, offset);
		page->next_in_bucket = replaced ? replaced->next_in_bucket : NULL;
		*slot = page;
	}
	page->generation = generation;
	return page;
}

const struct code_page *pages_all(void)
{
	return all_pages;
}

const struct object *pages_objects(void)
{
	return objects;
}
