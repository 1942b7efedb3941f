/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan.h"

#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "host/pages.h"

/*
 * May a slot of text reach into this mapping? Only if it is the object's own, nobody can write to it, and nobody
 * has: RELRO is read-only by now, but what ld.so has put there is not in the file.
 */
static bool is_own_read_only(const struct mapping *mapping, const struct mapping *text)
{
	return mapping_same_file(mapping, text) && !mapping->shared && !mapping->changed &&
	       (mapping->prot & PROT_READ) && !(mapping->prot & PROT_WRITE);
}

/* How far below TEXT (a mapping index) the object's own read-only memory goes on without a hole, not below LIMIT. */
static uint64_t own_memory_start(const struct address_space *space, size_t text, uint64_t limit)
{
	uint64_t start = space->mappings[text].start;
	for (size_t i = text; i > 0 && start > limit; i--) {
		const struct mapping *below = &space->mappings[i - 1];
		if (below->end != start || !is_own_read_only(below, &space->mappings[text]))
			break;
		start = below->start;
	}
	return start > limit ? start : limit;
}

/* The same upwards. */
static uint64_t own_memory_end(const struct address_space *space, size_t text, uint64_t limit)
{
	uint64_t end = space->mappings[text].end;
	for (size_t i = text + 1; i < space->count && end < limit; i++) {
		const struct mapping *above = &space->mappings[i];
		if (above->start != end || !is_own_read_only(above, &space->mappings[text]))
			break;
		end = above->end;
	}
	return end < limit ? end : limit;
}

/* Add [start, end), which the object's mappings around TEXT cover without a hole, to the plan. */
static bool add_range(const struct address_space *space, size_t text, uint64_t start, uint64_t end, struct plan *plan)
{
	if (plan->range_count == PLAN_RANGES_MAX)
		return false;
	size_t i = text;
	while (i > 0 && space->mappings[i].start > start)
		i--;
	struct plan_range range = {start, end, plan->piece_count, 0};
	for (uint64_t at = start; at < end; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (range.first_piece + range.piece_count == PLAN_PIECES_MAX)
			return false;
		struct plan_piece *piece = &plan->pieces[range.first_piece + range.piece_count++];
		piece->start = at;
		piece->end = mapping->end < end ? mapping->end : end;
		piece->file_off = mapping->file_off + (at - mapping->start);
		at = piece->end;
	}
	plan->ranges[plan->range_count++] = range;
	plan->piece_count += range.piece_count;
	plan->range_bytes += end - start;
	return true;
}

static void add_whole_slots(const struct address_space *space, size_t text, bool round_out, struct plan *plan)
{
	const struct mapping *mapping = &space->mappings[text];
	uint64_t page = plan->page_bytes;
	uint64_t lowest = mapping->start;
	uint64_t highest = mapping->end;
	if (round_out) {
		lowest = own_memory_start(space, text, page_down(mapping->start, page));
		highest = own_memory_end(space, text, page_up(mapping->end, page));
	}
	uint64_t start = page_up(lowest, page);
	uint64_t end = page_down(highest, page);
	/* Two text mappings of one object may share a slot when rounding out: the first one has it. */
	if (plan->range_count > 0 && start < plan->ranges[plan->range_count - 1].end)
		start = plan->ranges[plan->range_count - 1].end;
	if (start >= end)
		return;
	if (!add_range(space, text, start, end, plan) && !error_is_set(&plan->reason))
		error_set(&plan->reason, REASON_TEXT_SCATTERED, "the text is in more pieces than hugexec handles (%d)",
		          PLAN_PIECES_MAX);
}

/* Sum up the object's text; false with a reason in PLAN if it must be left alone. */
static bool measure_text(const struct address_space *space, const struct mapping *object,
                         const struct settings *settings, struct plan *plan)
{
	bool writable = false;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (!mapping_same_file(mapping, object))
			continue;
		if ((mapping->prot & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC))
			writable = true;
		if (!mapping_is_text(mapping))
			continue;
		if (!plan->text_bytes) {
			plan->map_index = i;
			plan->text_start = mapping->start;
		}
		plan->text_end = mapping->end;
		plan->text_bytes += mapping->end - mapping->start;
	}
	char have[16], want[16];
	size_format(plan->text_bytes, have, sizeof have);
	if (!plan->text_bytes)
		error_set(&plan->reason, writable ? REASON_TEXT_WRITABLE : REASON_NO_TEXT,
		          writable ? "its code is writable" : "no executable mapping of a file");
	else if (plan->text_bytes < settings->min_text_bytes)
		error_set(&plan->reason, REASON_TEXT_SMALL, "%s of text, the policy asks for %s", have,
		          size_format(settings->min_text_bytes, want, sizeof want));
	else if (plan->text_bytes > settings->max_text_bytes)
		error_set(&plan->reason, REASON_TEXT_LARGE, "%s of text, the policy allows %s", have,
		          size_format(settings->max_text_bytes, want, sizeof want));
	return !error_is_set(&plan->reason);
}

bool plan_begin(const struct address_space *space, size_t map_index, const struct settings *settings,
                uint64_t page_bytes, struct plan *out)
{
	memset(out, 0, sizeof *out);
	out->page_bytes = page_bytes;
	out->map_index = map_index;
	if (map_index < space->count) {
		const struct mapping object = space->mappings[map_index];
		return measure_text(space, &object, settings, out);
	}
	error_set(&out->reason, REASON_NO_TEXT, "no such mapping");
	return false;
}

void plan_make(const struct address_space *space, size_t map_index, const struct settings *settings,
               uint64_t page_bytes, struct plan *out)
{
	if (!plan_begin(space, map_index, settings, page_bytes, out))
		return;
	const struct mapping object = space->mappings[map_index];
	for (size_t i = 0; i < space->count; i++) {
		if (mapping_same_file(&space->mappings[i], &object) && mapping_is_text(&space->mappings[i]))
			add_whole_slots(space, i, settings_rounds_out(settings), out);
	}
	if (out->range_count == 0 && !error_is_set(&out->reason)) {
		char have[16], page[16];
		error_set(&out->reason, REASON_NO_HUGE_SLOT, "no whole %s page lies inside its %s of text",
		          size_format(page_bytes, page, sizeof page), size_format(out->text_bytes, have, sizeof have));
	}
}
