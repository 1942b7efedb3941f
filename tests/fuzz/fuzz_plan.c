/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random images and decisions: a plan never covers an address twice, never leaves the object's own read-only memory,
 * has the right byte of the file for each byte that it covers, and leaves no whole slot of text out without a reason.
 */
#include <sys/mman.h>

#include "fuzzing.h"
#include "remap/plan.h"
#include "remap/plan_in_place.h"
#include "remap/plan_rest.h"

#define MAPPINGS_MAX 96
#define PAGE         UINT64_C(4096)
#define OBJECT_INODE 42

/* Any space that address_space_parse() lets through: ordered, page-aligned, not overlapping. */
static void make_image(struct input *input, struct mapping *mappings, struct address_space *space)
{
	static const int prots[] = {PROT_READ | PROT_EXEC,
	                            PROT_READ,
	                            PROT_READ | PROT_WRITE,
	                            PROT_NONE,
	                            PROT_READ | PROT_WRITE | PROT_EXEC,
	                            PROT_EXEC};
	uint64_t at = (uint64_t)input_word(input) * PAGE;
	uint64_t file_off = 0;
	while (input->left > 0 && space->count < MAPPINGS_MAX) {
		uint8_t kind = input_byte(input);
		uint64_t gap = kind & 1 ? 0 : (input_word(input) & 0xffff) * PAGE;
		uint64_t bytes = ((input_word(input) & 0x3ffff) + 1) * PAGE;
		bool goes_on = kind & 2;
		at += gap;
		file_off = goes_on ? file_off : (uint64_t)input_word(input) * PAGE;
		mappings[space->count++] = (struct mapping){
		    .start = at,
		    .end = at + bytes,
		    .file_off = file_off,
		    .prot = prots[(kind >> 2 & 7) % 6],
		    .shared = (kind >> 5) == 7,
		    .inode = (kind >> 5) == 6   ? 43
		             : (kind >> 5) == 5 ? 0
		                                : OBJECT_INODE,
		    .changed = goes_on && bytes % (7 * PAGE) == 0,
		    .path = "/bin/x",
		};
		at += bytes;
		file_off += bytes;
	}
	space->mappings = mappings;
}

static void check_pieces(const struct address_space *space, const struct plan *plan, const struct plan_range *range,
                         const struct mapping *object)
{
	uint64_t at = range->start;
	MUST(range->first_piece + range->piece_count <= plan->piece_count && plan->piece_count <= PLAN_PIECES_MAX);
	for (unsigned i = 0; i < range->piece_count; i++) {
		const struct plan_piece *piece = &plan->pieces[range->first_piece + i];
		ssize_t in = address_space_find(space, piece->start);
		MUST(in >= 0 && piece->start == at && piece->start < piece->end);
		const struct mapping *mapping = &space->mappings[in];
		MUST(piece->end <= mapping->end && mapping_same_file(mapping, object) && !mapping->shared);
		MUST(!mapping->changed || mapping_is_text(mapping));
		MUST((mapping->prot & PROT_READ) && !(mapping->prot & PROT_WRITE));
		MUST(piece->file_off == mapping->file_off + (piece->start - mapping->start));
		at = piece->end;
	}
	MUST(at == range->end);
}

static bool is_covered(const struct plan *plan, uint64_t addr)
{
	for (unsigned i = 0; i < plan->range_count; i++) {
		if (addr >= plan->ranges[i].start && addr < plan->ranges[i].end)
			return true;
	}
	return false;
}

static void check_complete(const struct address_space *space, const struct plan *plan, const struct mapping *object)
{
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (!mapping_same_file(mapping, object) || !mapping_is_text(mapping))
			continue;
		uint64_t first = (mapping->start + plan->page_bytes - 1) / plan->page_bytes * plan->page_bytes;
		for (uint64_t at = first; at + plan->page_bytes <= mapping->end; at += plan->page_bytes)
			MUST(is_covered(plan, at));
	}
}

static void check_plan(const struct address_space *space, const struct plan *plan, const struct mapping *object,
                       const struct settings *settings)
{
	uint64_t last_end = 0, bytes = 0;
	MUST(plan->range_count <= PLAN_RANGES_MAX && (plan->range_count > 0 || error_is_set(&plan->reason)));
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		MUST(range->start >= last_end && range->start < range->end);
		MUST((range->start | range->end) % plan->page_bytes == 0);
		check_pieces(space, plan, range, object);
		MUST(settings->round_out || range->piece_count == 1);
		last_end = range->end;
		bytes += range->end - range->start;
	}
	MUST(bytes == plan->range_bytes && (settings->round_out || bytes <= plan->text_bytes));
	if (!error_is_set(&plan->reason))
		check_complete(space, plan, object);
	if (plan->range_count > 0)
		MUST(plan->text_bytes >= settings->min_text_bytes && plan->text_bytes <= settings->max_text_bytes);
}

/* Whether one mapping of the file in step with RANGE may stand in the place of MAPPING. */
static void check_replaced(const struct mapping *mapping, const struct plan_range *range, uint64_t file_off,
                           const struct mapping *object)
{
	uint64_t shift = range->start - file_off;
	MUST(mapping_same_file(mapping, object) && !mapping->shared && !(mapping->prot & PROT_WRITE));
	MUST(!mapping->changed || mapping_is_text(mapping));
	MUST(mapping->prot == PROT_NONE || mapping->start - mapping->file_off == shift);
}

static void check_in_place(const struct address_space *space, const struct plan *plan, const struct mapping *object,
                           uint64_t file_bytes, bool round_out)
{
	uint64_t last_end = 0, bytes = 0;
	MUST(plan->range_count <= PLAN_RANGES_MAX && (plan->range_count > 0 || error_is_set(&plan->reason)));
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		const struct plan_piece *piece = &plan->pieces[range->first_piece];
		MUST(range->piece_count == 1 && piece->start == range->start && piece->end == range->end);
		MUST(range->start >= last_end && range->start < range->end);
		MUST((range->start | range->end | piece->file_off) % plan->page_bytes == 0);
		uint64_t mapped = 0;
		for (size_t j = 0; j < space->count; j++) {
			const struct mapping *mapping = &space->mappings[j];
			if (mapping->end <= range->start || mapping->start >= range->end)
				continue;
			check_replaced(mapping, range, piece->file_off, object);
			mapped += (mapping->end < range->end ? mapping->end : range->end) -
			          (mapping->start > range->start ? mapping->start : range->start);
			MUST(round_out || mapping_is_text(mapping));
		}
		MUST(round_out || mapped == range->end - range->start);
		MUST(mapped == range->end - range->start || piece->file_off <= file_bytes);
		last_end = range->end;
		bytes += range->end - range->start;
	}
	MUST(bytes == plan->range_bytes);
}

/* Pieces are what is mapped and nothing else, in order, none of it writable; each range has text. */
static void check_rest(const struct address_space *space, const struct plan *plan, const struct mapping *object,
                       bool is_loaded)
{
	uint64_t last_end = 0, bytes = 0;
	MUST(plan->range_count <= PLAN_RANGES_MAX && plan->piece_count <= PLAN_PIECES_MAX);
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		uint64_t at = range->start;
		bool has_text = false;
		MUST(range->start >= last_end && range->start < range->end);
		MUST((range->start | range->end) % plan->page_bytes == 0);
		for (unsigned j = 0; j < range->piece_count; j++) {
			const struct plan_piece *piece = &plan->pieces[range->first_piece + j];
			MUST(piece->start >= at && piece->start < piece->end && piece->end <= range->end);
			MUST(is_loaded || !piece->in_memory);
			at = piece->end;
		}
		for (size_t j = 0; j < space->count; j++) {
			const struct mapping *mapping = &space->mappings[j];
			if (mapping->end <= range->start || mapping->start >= range->end)
				continue;
			MUST(mapping_same_file(mapping, object) && !mapping->shared && !(mapping->prot & PROT_WRITE));
			MUST(!mapping->changed || (is_loaded && !mapping_is_text(mapping)));
			has_text |= mapping_is_text(mapping);
		}
		MUST(has_text);
		last_end = range->end;
		bytes += range->end - range->start;
	}
	MUST(bytes == plan->range_bytes);
}

/* Each slot lies in one mapping that is read-only data of the object's, in step with its file. */
static void check_rodata(const struct address_space *space, const struct plan *plan, const struct mapping *object)
{
	uint64_t last_end = 0;
	MUST(plan->range_count <= PLAN_RANGES_MAX);
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		const struct plan_piece *piece = &plan->pieces[range->first_piece];
		MUST(range->start >= last_end && range->start < range->end);
		MUST((range->start | range->end | piece->file_off) % plan->page_bytes == 0);
		for (uint64_t addr = range->start; addr < range->end; addr += plan->page_bytes) {
			ssize_t at = address_space_find(space, addr);
			MUST(at >= 0 && space->mappings[at].end - addr >= plan->page_bytes);
			const struct mapping *mapping = &space->mappings[at];
			MUST(mapping_same_file(mapping, object) && mapping->prot == PROT_READ && !mapping->changed);
			MUST(mapping->start - mapping->file_off == range->start - piece->file_off);
		}
		last_end = range->end;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct mapping mappings[MAPPINGS_MAX];
	struct address_space space = {0};
	struct settings settings;
	settings_default(&settings);
	uint8_t choice = input_byte(&input);
	settings.round_out = choice & 1;
	settings.min_text_bytes = choice & 2 ? input_word(&input) : 0;
	settings.max_text_bytes = choice & 4 ? input_word(&input) : UINT64_MAX;
	uint64_t page_bytes = choice & 8 ? UINT64_C(1) << 30 : UINT64_C(2) << 20;
	make_image(&input, mappings, &space);
	for (size_t i = 0; i <= space.count; i += 1 + (choice >> 4)) {
		struct plan plan;
		plan_make(&space, i, &settings, page_bytes, &plan);
		if (i < space.count)
			check_plan(&space, &plan, &mappings[i], &settings);
		else
			MUST(plan.range_count == 0 && error_is_set(&plan.reason));
		uint64_t max_bytes = choice & 1 ? UINT64_MAX : REST_BYTES_MAX;
		plan_rest(&space, i, &settings, choice & 2, UINT64_C(2) << 20, max_bytes, &plan);
		MUST(plan.range_bytes <= max_bytes);
		if (i < space.count)
			check_rest(&space, &plan, &mappings[i], choice & 2);
		if (i < space.count) {
			plan_rodata(&space, i, UINT64_C(2) << 20, &plan);
			check_rodata(&space, &plan, &mappings[i]);
		}
		plan_in_place(&space, i, &settings, page_bytes * 8, UINT64_C(2) << 20, &plan);
		if (i < space.count)
			check_in_place(&space, &plan, &mappings[i], page_bytes * 8, settings.round_out);
		else
			MUST(plan.range_count == 0 && error_is_set(&plan.reason));
	}
	return 0;
}
