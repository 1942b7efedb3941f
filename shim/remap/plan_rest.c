/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan_rest.h"

#include <sys/mman.h>

#include "base/size.h"
#include "host/pages.h"
#include "remap/plan_in_place.h"

bool plan_may_be_copied(const struct mapping *part, const struct mapping *text)
{
	return mapping_same_file(part, text) && !part->shared && !part->changed && !(part->prot & PROT_WRITE);
}

static bool may_be_copied_loaded(const struct mapping *part, const struct mapping *text)
{
	return mapping_same_file(part, text) && !part->shared && !(part->prot & PROT_WRITE) &&
	       !(part->changed && mapping_is_text(part));
}

/* Add a piece for what PART has in [START, END); to the last one if it goes on there. */
static bool add_piece(const struct mapping *part, uint64_t start, uint64_t end, struct plan *plan)
{
	struct plan_range *range = &plan->ranges[plan->range_count - 1];
	struct plan_piece piece = {
	    .start = start > part->start ? start : part->start,
	    .end = end < part->end ? end : part->end,
	    .in_memory = part->changed,
	};
	piece.file_off = part->file_off + (piece.start - part->start);
	struct plan_piece *last = range->piece_count ? &plan->pieces[plan->piece_count - 1] : NULL;
	if (last && last->end == piece.start && last->in_memory == piece.in_memory &&
	    last->file_off + (last->end - last->start) == piece.file_off) {
		last->end = piece.end;
		return true;
	}
	if (plan->piece_count == PLAN_PIECES_MAX)
		return false;
	plan->pieces[plan->piece_count++] = piece;
	range->piece_count++;
	return true;
}

bool plan_add_slots(const struct address_space *space, size_t text_index, uint64_t start, uint64_t end,
                    struct plan *plan)
{
	size_t i = text_index;
	while (i > 0 && space->mappings[i - 1].end > start)
		i--;
	if (plan->range_count == 0 || plan->ranges[plan->range_count - 1].end != start) {
		if (plan->range_count == PLAN_RANGES_MAX)
			return false;
		plan->ranges[plan->range_count++] = (struct plan_range){start, start, plan->piece_count, 0};
	}
	for (; i < space->count && space->mappings[i].start < end; i++) {
		if (space->mappings[i].prot != PROT_NONE && !add_piece(&space->mappings[i], start, end, plan))
			return false;
	}
	plan->ranges[plan->range_count - 1].end = end;
	plan->range_bytes += end - start;
	return true;
}

/* The end of the slots from ADDR on that need no copy, or have one already. */
static uint64_t done_up_to(const struct plan *in_place, const struct plan *plan, uint64_t addr)
{
	for (unsigned i = 0; i < in_place->range_count; i++) {
		if (addr >= in_place->ranges[i].start && addr < in_place->ranges[i].end)
			return in_place->ranges[i].end;
	}
	bool is_there = plan->range_count && plan->ranges[plan->range_count - 1].end > addr;
	return is_there ? plan->ranges[plan->range_count - 1].end : addr;
}

/* Copies may not be larger than MAX_BYTES; LEFT_BYTES of slots would need more. */
struct limit {
	uint64_t max_bytes, left_bytes;
};

static bool is_within(struct limit *limit, const struct plan *plan, uint64_t bytes)
{
	if (bytes <= limit->max_bytes && plan->range_bytes <= limit->max_bytes - bytes)
		return true;
	limit->left_bytes += bytes;
	return false;
}

/* How much of TEXT needs a copy. */
static uint64_t left_bytes(const struct mapping *text, const struct plan *in_place)
{
	uint64_t bytes = text->end - text->start;
	for (unsigned i = 0; i < in_place->range_count; i++) {
		const struct plan_range *range = &in_place->ranges[i];
		uint64_t start = range->start > text->start ? range->start : text->start;
		uint64_t end = range->end < text->end ? range->end : text->end;
		bytes -= end > start ? end - start : 0;
	}
	return bytes;
}

/* The slots of one text mapping. Returns false if it is in too many pieces. */
static bool add_slots(const struct address_space *space, size_t text_index, const struct plan *in_place, bool is_loaded,
                      struct limit *limit, struct plan *plan)
{
	const struct mapping *text = &space->mappings[text_index];
	uint64_t huge_bytes = plan->page_bytes;
	/* Text of which nothing is in place is seldom hot: linkers keep what is in step, BOLT leaves cold text behind.
	 * Its ends alone are worth nothing. */
	if ((text->start - text->file_off) % huge_bytes && !is_within(limit, plan, left_bytes(text, in_place)))
		return true;
	for (uint64_t addr = page_down(text->start, huge_bytes); addr < text->end;) {
		uint64_t next = done_up_to(in_place, plan, addr);
		if (next == addr) {
			bool is_inside = addr >= text->start && text->end - addr >= huge_bytes;
			next = is_inside ? page_down(text->end, huge_bytes) : addr + huge_bytes;
			if (!slot_holds_only(space, text_index, addr, huge_bytes,
			                     is_loaded ? may_be_copied_loaded : plan_may_be_copied))
				plan->has_data_beside = true;
			else if (is_within(limit, plan, next - addr) &&
			         !plan_add_slots(space, text_index, addr, next, plan))
				return false;
		}
		addr = next;
	}
	return true;
}

/* Why text remains on small pages; what is more comes first. */
static void explain(const struct limit *limit, struct plan *plan)
{
	char left[16], most[16];
	if (limit->left_bytes > 0)
		error_set(
		    &plan->reason, REASON_COPY_LIMIT,
		    "%s of its text would need a private copy, and \"full\" copies at most %s of what is in place; "
		    "hugexecctl warm --share makes one of a library's for all processes",
		    size_format(limit->left_bytes, left, sizeof left), size_format(REST_BYTES_MAX, most, sizeof most));
	else if (plan->has_data_beside)
		error_set(&plan->reason, REASON_DATA_BESIDE_TEXT,
		          "writable data, or nothing of its own, shares a huge page with an end of its text");
}

void plan_rest_beside(const struct address_space *space, size_t map_index, const struct settings *settings,
                      bool is_loaded, const struct plan *in_place, uint64_t max_bytes, struct plan *out)
{
	uint64_t huge_bytes = in_place->page_bytes;
	struct limit limit = {.max_bytes = max_bytes};
	if (!plan_begin(space, map_index, settings, huge_bytes, out))
		return;
	const struct mapping object = space->mappings[map_index];
	for (size_t i = 0; i < space->count; i++) {
		if (!mapping_same_file(&space->mappings[i], &object) || !mapping_is_text(&space->mappings[i]))
			continue;
		if (!add_slots(space, i, in_place, is_loaded, &limit, out)) {
			*out = (struct plan){.page_bytes = huge_bytes, .map_index = out->map_index};
			error_set(&out->reason, REASON_TEXT_SCATTERED,
			          "the text is in more pieces than hugexec handles (%d)", PLAN_PIECES_MAX);
			return;
		}
	}
	explain(&limit, out);
}

void plan_rest(const struct address_space *space, size_t map_index, const struct settings *settings, bool is_loaded,
               uint64_t huge_bytes, uint64_t max_bytes, struct plan *out)
{
	struct settings whole = *settings;
	struct plan in_place;
	whole.coverage = COVERAGE_CHEAP;
	whole.round_out = false;
	plan_in_place(space, map_index, &whole, UINT64_MAX, huge_bytes, &in_place);
	plan_rest_beside(space, map_index, settings, is_loaded, &in_place, max_bytes, out);
}
