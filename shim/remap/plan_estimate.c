/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/plan_estimate.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "host/pages.h"
#include "mm/maps.h"
#include "remap/plan.h"
#include "remap/plan_in_place.h"

/* Load addresses to try for a position-independent program: enough to meet the best and the worst. */
#define BIASES_MAX 8192

size_t elf_mappings(const struct elf_facts *elf, uint64_t bias, uint64_t base_bytes, struct mapping *mappings)
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

uint64_t elf_phase(const struct elf_facts *elf, const struct page_sizes *pages)
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

uint64_t elf_file_bytes(const struct elf_facts *elf)
{
	uint64_t bytes = 0, end;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if (!__builtin_add_overflow(segment->file_off, segment->file_bytes, &end) && end > bytes)
			bytes = end;
	}
	return bytes;
}

static void forecast_file(const struct elf_facts *elf, const struct settings *settings, const struct page_sizes *pages,
                          struct forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	uint64_t phase = elf_phase(elf, pages);
	struct plan plan;
	out->file_needs_rebase = elf->type == ET_DYN; /* where it is loaded is random, so it nearly always does */
	if (phase && elf->type != ET_DYN)
		return;
	struct image image = {.mappings = mappings};
	image.count = elf_mappings(elf, phase, pages->base_bytes, mappings);
	plan_in_place(&image, 0, settings, elf_file_bytes(elf), pages->huge_bytes, &plan);
	if (settings->rebase || elf->type != ET_DYN)
		out->file_bytes = plan.range_bytes;
}

void forecast_make(const struct elf_facts *elf, const struct settings *settings, const struct page_sizes *pages,
                   uint64_t page_bytes, struct forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	uint64_t step = page_up(page_bytes / BIASES_MAX, pages->base_bytes);
	unsigned biases = elf->type == ET_DYN ? (unsigned)(page_bytes / step) : 1;
	*out = (struct forecast){.fewest_bytes = UINT64_MAX};
	for (unsigned i = 0; i < biases; i++) {
		struct image image = {.mappings = mappings};
		image.count = elf_mappings(elf, i * step, pages->base_bytes, mappings);
		struct plan plan;
		plan_make(&image, 0, settings, page_bytes, &plan);
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
