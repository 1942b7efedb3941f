/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan_estimate.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "host/pages.h"
#include "mm/maps.h"
#include "remap/plan.h"
#include "remap/plan_in_place.h"
#include "remap/plan_rest.h"
#include "remap/plan_shared.h"

/* Load addresses to try for a position-independent program: enough to meet the best and the worst. */
#define BIASES_MAX 8192

size_t elf_mappings(const struct elf_info *elf, uint64_t bias, uint64_t base_bytes, struct mapping *mappings)
{
	size_t count = 0;
	uint64_t last_end = 0;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		uint64_t in_page = segment->vaddr % base_bytes;
		uint64_t start = segment->vaddr - in_page + bias;
		uint64_t end = page_up(segment->vaddr + segment->file_bytes, base_bytes) + bias;
		/* Headers out of order or overlapping: the kernel maps what it can, a forecast leaves them out. */
		if (segment->file_bytes == 0 || start < last_end || segment->file_off < in_page)
			continue;
		mappings[count++] = (struct mapping){
		    .start = start,
		    .end = end,
		    .file_off = segment->file_off - in_page,
		    .prot = (segment->flags & PF_R ? PROT_READ : 0) | (segment->flags & PF_W ? PROT_WRITE : 0) |
		            (segment->flags & PF_X ? PROT_EXEC : 0),
		    .inode = 1,
		    .path = "",
		};
		last_end = end;
	}
	return count;
}

uint64_t elf_phase(const struct elf_info *elf, const struct page_sizes *pages)
{
	const struct elf_segment *largest = NULL;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if ((segment->flags & (PF_X | PF_W)) == PF_X && (!largest || segment->file_bytes > largest->file_bytes))
			largest = segment;
	}
	uint64_t phase = largest ? (largest->file_off - largest->vaddr) % pages->huge_bytes : 0;
	return page_down(phase, pages->base_bytes);
}

uint64_t elf_file_bytes(const struct elf_info *elf)
{
	uint64_t bytes = 0, end;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if (!__builtin_add_overflow(segment->file_off, segment->file_bytes, &end) && end > bytes)
			bytes = end;
	}
	return bytes;
}

/* What is in SPACE besides the object: another program, if that is a library. */
#define OTHER_INODE 2

/*
 * As elf_mappings(), once ld.so has made read-only what it has relocated: whole pages, and never a page that it shares
 * with other data. MAPPINGS: room for two more.
 */
static size_t loaded_mappings(const struct elf_info *elf, uint64_t bias, uint64_t base_bytes, struct mapping *mappings)
{
	size_t count = elf_mappings(elf, bias, base_bytes, mappings);
	uint64_t start = page_down(elf->relro_vaddr, base_bytes) + bias;
	uint64_t end = page_down(elf->relro_vaddr + elf->relro_bytes, base_bytes) + bias;
	for (size_t i = 0; i < count && elf->relro_bytes; i++) {
		struct mapping *mapping = &mappings[i];
		if (!(mapping->prot & PROT_WRITE) || mapping->start != start || end <= start)
			continue;
		if (end < mapping->end) {
			memmove(mapping + 1, mapping, (count++ - i) * sizeof *mapping);
			mapping[1].start = end;
			mapping[1].file_off += end - start;
			mapping->end = end;
		}
		mapping->prot &= ~PROT_WRITE;
		mapping->changed = true;
		break;
	}
	return count;
}

static bool copies(const struct settings *settings)
{
	for (unsigned i = 0; i < settings->backing_count; i++) {
		if (settings->backing[i] != BACKING_FILE)
			return true;
	}
	return false;
}

/* How much text is in the ranges of PLAN. */
static uint64_t text_inside(const struct address_space *space, const struct plan *plan)
{
	uint64_t bytes = 0;
	for (unsigned r = 0; r < plan->range_count; r++) {
		const struct plan_range *range = &plan->ranges[r];
		for (size_t i = 0; i < space->count; i++) {
			const struct mapping *mapping = &space->mappings[i];
			uint64_t start = mapping->start > range->start ? mapping->start : range->start;
			uint64_t end = mapping->end < range->end ? mapping->end : range->end;
			bytes += mapping_is_text(mapping) && end > start ? end - start : 0;
		}
	}
	return bytes;
}

/*
 * Where the object with these headers would stand, in SPACE, whose mappings have room for three more than there are
 * segments. Returns false if nothing of it can be in place.
 */
static bool load(const struct elf_info *elf, bool is_library, bool is_loaded, const struct page_sizes *pages,
                 struct address_space *space)
{
	const struct elf_segment *first = &elf->segments[0];
	uint64_t huge_bytes = pages->huge_bytes, phase = elf_phase(elf, pages);
	if (is_library)
		phase = page_down((first->file_off - first->vaddr) % huge_bytes, pages->base_bytes);
	if (elf->segment_count == 0 || (phase && elf->type != ET_DYN))
		return false;
	space->count = is_loaded ? loaded_mappings(elf, phase, pages->base_bytes, space->mappings)
	                         : elf_mappings(elf, phase, pages->base_bytes, space->mappings);
	if (is_library) {
		space->exe_index = space->count;
		space->has_exe = true;
		space->mappings[space->count++] = (struct mapping){
		    .start = UINT64_MAX - huge_bytes, .end = UINT64_MAX, .inode = OTHER_INODE, .path = ""};
	}
	return true;
}

bool elf_is_library(const struct elf_info *elf)
{
	return elf->type == ET_DYN && !elf->has_interp;
}

void shared_plan_of(const struct elf_info *elf, const struct page_sizes *pages, struct plan *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX + 3];
	struct address_space space = {.mappings = mappings};
	struct settings settings;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	*out = (struct plan){.page_bytes = pages->huge_bytes};
	if (load(elf, elf_is_library(elf), false, pages, &space))
		plan_shared(&space, 0, &settings, pages->huge_bytes, out);
}

/* Of what SPACE has, SHARED is on huge pages, too: nothing of it needs a copy. */
static void add_shared(const struct plan *shared, struct plan *in_place)
{
	for (unsigned i = 0; i < shared->range_count && in_place->range_count < PLAN_RANGES_MAX; i++)
		in_place->ranges[in_place->range_count++] =
		    (struct plan_range){.start = shared->ranges[i].start, .end = shared->ranges[i].end};
}

void forecast_in_place(const struct elf_info *elf, bool is_library, bool has_shared, const struct settings *settings,
                       const struct page_sizes *pages, struct file_forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX + 3];
	struct plan in_place, shared, rest;
	uint64_t huge_bytes = pages->huge_bytes;
	bool is_full = settings->coverage == COVERAGE_FULL && copies(settings);
	bool is_loaded = is_full && (is_library || elf->has_interp);
	struct address_space space = {.mappings = mappings};
	*out = (struct file_forecast){0};
	if (!load(elf, is_library, is_loaded, pages, &space))
		return;
	plan_in_place(&space, 0, settings, elf_file_bytes(elf), huge_bytes, &in_place);
	out->in_place_bytes = in_place.range_bytes;
	out->text_bytes = text_inside(&space, &in_place);
	if (!is_full)
		return;
	if (has_shared) {
		plan_shared(&space, 0, settings, huge_bytes, &shared);
		out->shared_bytes = shared.range_bytes;
		out->text_bytes += text_inside(&space, &shared);
		add_shared(&shared, &in_place);
	}
	plan_rest_beside(&space, 0, settings, is_loaded, &in_place, REST_BYTES_MAX, &rest);
	out->copied_bytes = rest.range_bytes;
	out->text_bytes += text_inside(&space, &rest);
	if (rest.reason.code == REASON_COPY_LIMIT)
		out->reason = rest.reason;
}

static void forecast_file(const struct elf_info *elf, const struct settings *settings, const struct page_sizes *pages,
                          struct forecast *out)
{
	struct file_forecast forecast;
	forecast_in_place(elf, false, false, settings, pages, &forecast);
	out->file_needs_rebase = elf->type == ET_DYN; /* where it is loaded is random, so it nearly always does */
	if (forecast.in_place_bytes == 0 || (!settings->rebase && elf->type == ET_DYN))
		return;
	out->file_bytes = forecast.in_place_bytes;
	out->file_text_bytes = forecast.text_bytes;
	out->copied_bytes = forecast.copied_bytes;
	out->file_reason = forecast.reason;
}

void forecast_make(const struct elf_info *elf, const struct settings *settings, const struct page_sizes *pages,
                   uint64_t page_bytes, struct forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	uint64_t step = page_up(page_bytes / BIASES_MAX, pages->base_bytes);
	unsigned biases = elf->type == ET_DYN ? (unsigned)(page_bytes / step) : 1;
	*out = (struct forecast){.fewest_bytes = UINT64_MAX};
	for (unsigned i = 0; i < biases; i++) {
		struct address_space space = {.mappings = mappings};
		space.count = elf_mappings(elf, i * step, pages->base_bytes, mappings);
		struct plan plan;
		plan_make(&space, 0, settings, page_bytes, &plan);
		out->text_bytes = plan.text_bytes;
		if (i == 0) {
			out->text_start = plan.text_start;
			out->text_end = plan.text_end;
		}
		out->fewest_bytes = plan.range_bytes < out->fewest_bytes ? plan.range_bytes : out->fewest_bytes;
		/* The reason of the best case: what luck cannot mend. */
		if (i == 0 || plan.range_bytes > out->most_bytes) {
			out->most_bytes = plan.range_bytes;
			out->reason = plan.reason;
		}
	}
	forecast_file(elf, settings, pages, out);
}
