/* SPDX-License-Identifier: Apache-2.0 */
#include "data.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "layouts.h"
#include "results.h"
#include "tlb.h"

/*
 * Loads and stores share the first level in all of them. Sources as in processors.c. Skylake-SP: 2 MiB, 32 entries, 4
 * ways (Intel's optimization manual, table 2-15). Zen 4: 72 entries, fully associative, all sizes, and a second level
 * of 3072 entries (AMD's optimization guide for Zen 4; CPUID says the same); its ways: 24 [not sourced]. Neoverse N1 as
 * there.
 */
struct data_processor {
	const char *name;
	struct tlb_shape small, huge; /* huge: 0 entries if both sizes share SMALL */
	struct tlb_shape second;
};

static const struct data_processor data_processors[DATA_PROCESSOR_COUNT] = {
    {"Skylake-SP", {64, 4}, {32, 4}, {1536, 12}},
    {"Zen 4", {72, 72}, {0, 0}, {3072, 24}},
    {"Neoverse N1", {48, 48}, {0, 0}, {1280, 5}},
};

static const char *const data_layout_names[DATA_LAYOUT_COUNT] = {"plain", "ends", "rodata"};

struct data_core {
	uint64_t last; /* page; 0 at first */
	struct tlb small[DATA_PROCESSOR_COUNT][DATA_LAYOUT_COUNT];
	struct tlb huge[DATA_PROCESSOR_COUNT][DATA_LAYOUT_COUNT];
	struct tlb second[DATA_PROCESSOR_COUNT][DATA_LAYOUT_COUNT];
	struct data_counts counts;
};

/* The program's pages in the guest, from the first one on: an enum data_layout each. */
struct image {
	const struct image *earlier; /* kept: a core may be looking at it */
	uint64_t first_page, page_count;
	uint64_t slot_offset; /* bytes from a page's guest address to one that is aligned as hugexec would have it */
	uint8_t huge_from[];
};

static _Atomic(const struct image *) image;

static uint64_t distance_of(const struct object_segment *segment)
{
	return segment->start - segment->off;
}

/* The segment that the program's text is in. */
static const struct object_segment *text_of(const struct object *program)
{
	for (unsigned i = 0; i < program->segment_count; i++) {
		if (program->segments[i].executable && program->segments[i].off == program->text_off)
			return &program->segments[i];
	}
	return NULL;
}

/* Is all of the slot at ADDRESS, where the program would have it, read-only and in step with TEXT, and some of it text?
 */
static bool is_end(const struct object *program, const struct object_segment *text, uint64_t address)
{
	bool has_text = false;
	uint64_t end = address + HUGE_PAGE;
	for (unsigned i = 0; i < program->segment_count; i++) {
		const struct object_segment *segment = &program->segments[i];
		if (segment->end <= address || segment->start >= end)
			continue;
		if (segment->writable || distance_of(segment) != distance_of(text))
			return false;
		has_text |= segment->executable;
	}
	/* Behind the program is the heap's place. */
	return has_text && program->segments[program->segment_count - 1].end >= end &&
	       end - distance_of(text) <= program->file_bytes;
}

static bool is_inside_data(const struct object *program, const struct object_segment *text, uint64_t address)
{
	for (unsigned i = 0; i < program->segment_count; i++) {
		const struct object_segment *segment = &program->segments[i];
		if (!segment->writable && !segment->executable && segment->start <= address &&
		    segment->start + segment->bytes >= address + HUGE_PAGE)
			return (distance_of(segment) - distance_of(text)) % HUGE_PAGE == 0;
	}
	return false;
}

enum data_layout data_huge_from(const struct object *program, uint64_t address)
{
	const struct object_segment *text = text_of(program);
	if (!text || !layout_has_slots(program))
		return DATA_LAYOUT_COUNT;
	/* Slots are the file's, counted from where its first byte would be. */
	uint64_t slot = address - (address - distance_of(text)) % HUGE_PAGE;
	if (is_end(program, text, slot))
		return DATA_ENDS;
	return is_inside_data(program, text, slot) ? DATA_RODATA : DATA_LAYOUT_COUNT;
}

void data_begin(const struct object *program, uint64_t base)
{
	uint64_t first = program->segments[0].start, end = program->segments[program->segment_count - 1].end;
	uint64_t count = (end - first) >> SMALL_PAGE_SHIFT;
	struct image *found = need(sizeof *found + count);
	const struct object_segment *text = text_of(program);
	found->first_page = (base + first) >> SMALL_PAGE_SHIFT;
	found->page_count = count;
	found->slot_offset = text ? -(base + distance_of(text)) % HUGE_PAGE : 0;
	for (uint64_t i = 0; i < count; i++)
		found->huge_from[i] = (uint8_t)data_huge_from(program, first + (i << SMALL_PAGE_SHIFT));
	found->earlier = image;
	image = found;
}

struct data_core *data_core_new(void)
{
	struct data_core *core = need(sizeof *core);
	for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
		const struct data_processor *processor = &data_processors[i];
		for (unsigned layout = 0; layout < DATA_LAYOUT_COUNT; layout++) {
			tlb_init(&core->small[i][layout], processor->small);
			tlb_init(&core->second[i][layout], processor->second);
			if (processor->huge.entries)
				tlb_init(&core->huge[i][layout], processor->huge);
			else
				core->huge[i][layout] = core->small[i][layout];
		}
	}
	return core;
}

void data_core_free(struct data_core *core)
{
	for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
		for (unsigned layout = 0; layout < DATA_LAYOUT_COUNT; layout++) {
			if (data_processors[i].huge.entries)
				tlb_free(&core->huge[i][layout]);
			tlb_free(&core->small[i][layout]);
			tlb_free(&core->second[i][layout]);
		}
	}
	free(core);
}

void data_access(struct data_core *core, uint64_t address)
{
	uint64_t page = address >> SMALL_PAGE_SHIFT;
	if (page == core->last)
		return; /* the most recently used page everywhere */
	core->last = page;
	core->counts.accesses++;
	const struct image *known = image;
	bool is_program = known && page - known->first_page < known->page_count;
	unsigned huge_from = is_program ? known->huge_from[page - known->first_page] : DATA_LAYOUT_COUNT;
	for (unsigned layout = 0; layout < DATA_LAYOUT_COUNT; layout++) {
		bool huge = layout >= huge_from;
		uint64_t key = huge ? huge_key(address + known->slot_offset) : small_key(address);
		for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
			if (tlb_touch(huge ? &core->huge[i][layout] : &core->small[i][layout], key))
				continue;
			core->counts.misses[i][layout]++;
			core->counts.walks[i][layout] += !tlb_touch(&core->second[i][layout], key);
		}
	}
}

void data_add_counts(const struct data_core *core, struct data_counts *sum)
{
	sum->accesses += core->counts.accesses;
	for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
		for (unsigned layout = 0; layout < DATA_LAYOUT_COUNT; layout++) {
			sum->misses[i][layout] += core->counts.misses[i][layout];
			sum->walks[i][layout] += core->counts.walks[i][layout];
		}
	}
}

static void write_numbers(FILE *out, const char *name, const uint64_t numbers[DATA_LAYOUT_COUNT])
{
	fprintf(out, "\"%s\": [", name);
	for (unsigned i = 0; i < DATA_LAYOUT_COUNT; i++)
		fprintf(out, "%s%" PRIu64, i ? ", " : "", numbers[i]);
	putc(']', out);
}

void data_write(FILE *out, const struct data_counts *counts)
{
	fprintf(out, "\"accesses\": %" PRIu64 ",\n\"layouts\": [", counts->accesses);
	for (unsigned i = 0; i < DATA_LAYOUT_COUNT; i++)
		fprintf(out, "%s\"%s\"", i ? ", " : "", data_layout_names[i]);
	fputs("],\n\"processors\": [", out);
	for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
		fprintf(out, "%s\n  {\"name\": \"%s\", ", i ? "," : "", data_processors[i].name);
		write_numbers(out, "misses", counts->misses[i]);
		fputs(", ", out);
		write_numbers(out, "walks", counts->walks[i]);
		putc('}', out);
	}
	fputs("]", out);
}
