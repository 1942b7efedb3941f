/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan_in_place.h"

#include <sys/mman.h>

#include "host/pages.h"

/* Which byte of the file is at ADDR if the mapping TEXT went on to there; false: none, or a slot there is cut short. */
static bool slot_in_file(const struct mapping *text, uint64_t addr, uint64_t huge_bytes, uint64_t file_bytes,
                         uint64_t *file_off)
{
	if (addr < text->start && text->start - addr > text->file_off)
		return false;
	*file_off = text->file_off + (addr - text->start);
	return *file_off <= file_bytes && file_bytes - *file_off >= huge_bytes;
}

/* Whether one mapping of the file in step with TEXT may stand in the place of this part of it. */
static bool may_be_replaced(const struct mapping *part, const struct mapping *text)
{
	if (!mapping_same_file(part, text) || part->shared || part->changed)
		return false;
	if (part->prot == PROT_NONE) /* ld.so fills holes between segments so */
		return true;
	return (part->prot & PROT_READ) && !(part->prot & PROT_WRITE) &&
	       part->start - part->file_off == text->start - text->file_off;
}

/*
 * Whether the hole before the mapping with INDEX is ours to fill. One below a mapping of the object's own is: it is the
 * linker's, or nobody's, and nobody looks for room of less than a slot there. One behind the object is, too, if that is
 * a library; behind a program the kernel lets the heap grow (brk(2)).
 */
static bool may_fill_hole(const struct address_space *space, size_t index, const struct mapping *text)
{
	if (index < space->count && mapping_same_file(&space->mappings[index], text))
		return true;
	return space->has_exe && !mapping_same_file(&space->mappings[space->exe_index], text);
}

bool slot_holds_only(const struct address_space *space, size_t text_index, uint64_t addr, uint64_t huge_bytes,
                     bool (*fits)(const struct mapping *part, const struct mapping *text))
{
	const struct mapping *text = &space->mappings[text_index];
	size_t i = text_index;
	uint64_t at = addr;
	while (i > 0 && space->mappings[i - 1].end > addr)
		i--;
	for (; at < addr + huge_bytes; i++) {
		const struct mapping *part = i < space->count ? &space->mappings[i] : NULL;
		if (!part)
			return may_fill_hole(space, i, text);
		if (part->start > at && !may_fill_hole(space, i, text))
			return false;
		if (part->start >= addr + huge_bytes)
			return true;
		if (!fits(part, text))
			return false;
		at = part->end;
	}
	return true;
}

/* Add [START, END), at FILE_OFF of the file, to the plan; to its last range if it goes on there. */
static void add(struct plan *plan, uint64_t start, uint64_t end, uint64_t file_off)
{
	if (start >= end)
		return;
	struct plan_range *last = plan->range_count ? &plan->ranges[plan->range_count - 1] : NULL;
	if (last && last->end == start &&
	    plan->pieces[last->first_piece].file_off + (start - last->start) == file_off) {
		last->end = plan->pieces[last->first_piece].end = end;
	} else if (plan->range_count == PLAN_RANGES_MAX) {
		error_set(&plan->reason, REASON_TEXT_SCATTERED, "the text is in more pieces than hugexec handles (%d)",
		          PLAN_RANGES_MAX);
		return;
	} else {
		plan->pieces[plan->piece_count] = (struct plan_piece){.start = start, .end = end, .file_off = file_off};
		plan->ranges[plan->range_count++] = (struct plan_range){start, end, plan->piece_count++, 1};
	}
	plan->range_bytes += end - start;
}

static void add_end_slot(const struct address_space *space, size_t text_index, uint64_t addr, uint64_t file_bytes,
                         struct plan *plan)
{
	const struct mapping *text = &space->mappings[text_index];
	uint64_t file_off;
	bool is_done = plan->range_count > 0 && plan->ranges[plan->range_count - 1].end > addr;
	if (!is_done && slot_in_file(text, addr, plan->page_bytes, file_bytes, &file_off) &&
	    slot_holds_only(space, text_index, addr, plan->page_bytes, may_be_replaced))
		add(plan, addr, addr + plan->page_bytes, file_off);
}

/* The slots of one text mapping, from the lowest to the highest. */
static void add_slots(const struct address_space *space, size_t text_index, bool round_out, uint64_t file_bytes,
                      struct plan *plan)
{
	const struct mapping *text = &space->mappings[text_index];
	uint64_t huge_bytes = plan->page_bytes;
	uint64_t first = page_up(text->start, huge_bytes), end = page_down(text->end, huge_bytes);
	if ((text->start - text->file_off) % huge_bytes)
		return;
	if (round_out && page_down(text->start, huge_bytes) < text->start)
		add_end_slot(space, text_index, page_down(text->start, huge_bytes), file_bytes, plan);
	add(plan, first, end, text->file_off + (first - text->start));
	if (round_out && end < text->end && end >= first)
		add_end_slot(space, text_index, end, file_bytes, plan);
}

void plan_in_place(const struct address_space *space, size_t map_index, const struct settings *settings,
                   uint64_t file_bytes, uint64_t huge_bytes, struct plan *out)
{
	if (!plan_begin(space, map_index, settings, huge_bytes, out))
		return;
	const struct mapping object = space->mappings[map_index];
	for (size_t i = 0; i < space->count; i++) {
		if (mapping_same_file(&space->mappings[i], &object) && mapping_is_text(&space->mappings[i]))
			add_slots(space, i, settings_rounds_out(settings), file_bytes, out);
	}
	if (out->range_count == 0 && !error_is_set(&out->reason))
		error_set(&out->reason, REASON_NO_HUGE_SLOT, "no whole huge page of the file lies inside its text");
}

static bool is_rodata(const struct mapping *mapping, const struct mapping *object)
{
	bool is_data = (mapping->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == PROT_READ;
	return is_data && mapping_same_file(mapping, object) && !mapping->shared && !mapping->changed;
}

void plan_rodata(const struct address_space *space, size_t map_index, uint64_t huge_bytes, struct plan *out)
{
	*out = (struct plan){.map_index = map_index, .page_bytes = huge_bytes};
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		uint64_t first = page_up(mapping->start, huge_bytes), end = page_down(mapping->end, huge_bytes);
		if (is_rodata(mapping, &space->mappings[map_index]) &&
		    (mapping->start - mapping->file_off) % huge_bytes == 0)
			add(out, first, end, mapping->file_off + (first - mapping->start));
	}
}
