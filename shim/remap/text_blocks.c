/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/text_blocks.h"

#include <elf.h>

#include "host/pages.h"
#include "remap/plan_estimate.h"
#include "remap/plan_in_place.h"

/* The whole slots inside SEGMENT into *RANGE; false if there is none. */
static bool slots_inside(const struct elf_segment *segment, uint64_t huge_bytes, struct file_range *range)
{
	uint64_t end;
	if (segment->file_off > UINT64_MAX - huge_bytes ||
	    __builtin_add_overflow(segment->file_off, segment->file_bytes, &end))
		return false;
	uint64_t first = page_up(segment->file_off, huge_bytes);
	uint64_t last = page_down(end, huge_bytes);
	if (last <= first)
		return false;
	*range = (struct file_range){first, last - first};
	return true;
}

/* Whether address and offset of SEGMENT agree modulo HUGE_BYTES, as far as the headers alone decide about it. */
static bool agrees(const struct elf_info *elf, const struct elf_segment *segment, bool is_library, uint64_t huge_bytes)
{
	const struct elf_segment *first = &elf->segments[0];
	if (elf->type != ET_DYN)
		return (segment->vaddr - segment->file_off) % huge_bytes == 0;
	return !is_library || (segment->vaddr - segment->file_off - (first->vaddr - first->file_off)) % huge_bytes == 0;
}

void text_slots_of(const struct elf_info *elf, bool is_library, uint64_t huge_bytes, struct text_slots *out)
{
	bool misaligned = false;
	*out = (struct text_slots){.count = 0};
	for (unsigned i = 0; i < elf->segment_count && i < ELF_SEGMENTS_MAX; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if ((segment->flags & (PF_X | PF_W)) != PF_X)
			continue;
		out->text_bytes += segment->file_bytes;
		if (!slots_inside(segment, huge_bytes, &out->ranges[out->count]))
			continue;
		if (!agrees(elf, segment, is_library, huge_bytes)) {
			misaligned = true;
			continue;
		}
		out->slot_bytes += out->ranges[out->count++].bytes;
	}
	if (misaligned && elf->type == ET_DYN)
		error_set(&out->reason, REASON_FILE_MISALIGNED,
		          "it was linked so that offset and address of its text differ modulo a huge page");
	else if (misaligned)
		error_set(&out->reason, REASON_FILE_MISALIGNED,
		          "it has a fixed address that differs from the offset of its text modulo a huge page");
	else if (out->text_bytes == 0)
		error_set(&out->reason, REASON_NO_TEXT, "it has no executable segment");
	else if (out->count == 0)
		error_set(&out->reason, REASON_NO_HUGE_SLOT, "no whole huge page lies inside its text");
}

void text_slots_rounded(const struct elf_info *elf, const struct page_sizes *pages, struct text_slots *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	struct settings settings;
	struct plan plan;
	uint64_t phase = elf_phase(elf, pages);
	text_slots_of(elf, false, pages->huge_bytes, out);
	if (phase && elf->type != ET_DYN)
		return;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	settings.round_out = true;
	struct address_space space = {.mappings = mappings};
	space.count = elf_mappings(elf, phase, pages->base_bytes, mappings);
	plan_in_place(&space, 0, &settings, elf_file_bytes(elf), pages->huge_bytes, &plan);
	if (plan.range_bytes <= out->slot_bytes)
		return;
	*out = (struct text_slots){.text_bytes = out->text_bytes, .slot_bytes = plan.range_bytes};
	for (unsigned i = 0; i < plan.range_count && i < ELF_SEGMENTS_MAX; i++)
		out->ranges[out->count++] = (struct file_range){plan.pieces[plan.ranges[i].first_piece].file_off,
		                                                plan.ranges[i].end - plan.ranges[i].start};
}

void text_slots_add_rodata(const struct elf_info *elf, const struct page_sizes *pages, struct text_slots *slots)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	struct address_space space = {.mappings = mappings};
	struct plan plan;
	uint64_t phase = elf_phase(elf, pages);
	if ((phase && elf->type != ET_DYN) ||
	    (space.count = elf_mappings(elf, phase, pages->base_bytes, mappings)) == 0)
		return;
	plan_rodata(&space, 0, pages->huge_bytes, &plan);
	for (unsigned i = 0; i < plan.range_count && slots->count < ELF_SEGMENTS_MAX; i++) {
		uint64_t bytes = plan.ranges[i].end - plan.ranges[i].start;
		slots->ranges[slots->count++] =
		    (struct file_range){plan.pieces[plan.ranges[i].first_piece].file_off, bytes};
		slots->slot_bytes += bytes;
	}
}
