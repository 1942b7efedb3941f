/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan_shared.h"

#include "host/pages.h"
#include "remap/plan_in_place.h"
#include "remap/plan_rest.h"

/* Returns false if it is in too many pieces. */
static bool add_slots(const struct address_space *space, size_t text_index, uint64_t huge_bytes, struct plan *plan)
{
	const struct mapping *text = &space->mappings[text_index];
	for (uint64_t addr = page_down(text->start, huge_bytes); addr < text->end; addr += huge_bytes) {
		bool is_done = plan->range_count > 0 && plan->ranges[plan->range_count - 1].end > addr;
		if (!is_done && slot_holds_only(space, text_index, addr, huge_bytes, plan_may_be_copied) &&
		    !plan_add_slots(space, text_index, addr, addr + huge_bytes, plan))
			return false;
	}
	return true;
}

void plan_shared(const struct address_space *space, size_t map_index, const struct settings *settings,
                 uint64_t huge_bytes, struct plan *out)
{
	if (!plan_begin(space, map_index, settings, huge_bytes, out))
		return;
	const struct mapping object = space->mappings[map_index];
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *text = &space->mappings[i];
		if (!mapping_same_file(text, &object) || !mapping_is_text(text) ||
		    (text->start - text->file_off) % huge_bytes == 0)
			continue;
		if (!add_slots(space, i, huge_bytes, out)) {
			*out = (struct plan){.page_bytes = huge_bytes, .map_index = out->map_index};
			return;
		}
	}
}
