#include "remap/plan_estimate.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "mm/maps.h"
#include "remap/plan.h"
#include "remap/plan_in_place.h"

#define SMALL_PAGE UINT64_C(4096)
#define FILE_PAGE  (2 * MIB) /* of the page cache, whatever the size of hugetlb pages */

/* Load addresses to try for a position-independent program: enough to meet the best and the worst. */
#define BIASES_MAX 512

size_t elf_mappings(const struct elf_facts *elf, uint64_t bias, struct mapping *mappings)
{
	size_t count = 0;
	uint64_t last_end = 0;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		uint64_t in_page = segment->vaddr % SMALL_PAGE;
		uint64_t start = segment->vaddr - in_page + bias;
		uint64_t end = (segment->vaddr + segment->file_bytes + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE + bias;
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

uint64_t elf_phase(const struct elf_facts *elf)
{
	const struct elf_segment *largest = NULL;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if ((segment->flags & (PF_X | PF_W)) == PF_X && (!largest || segment->file_bytes > largest->file_bytes))
			largest = segment;
	}
	return largest ? (largest->file_off - largest->vaddr) % FILE_PAGE / SMALL_PAGE * SMALL_PAGE : 0;
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

static void forecast_file(const struct elf_facts *elf, const struct settings *settings, struct forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	uint64_t phase = elf_phase(elf);
	struct plan plan;
	out->file_needs_rebase = elf->type == ET_DYN; /* where it is loaded is random, so it nearly always does */
	if (phase && elf->type != ET_DYN)
		return;
	struct image image = {.mappings = mappings};
	image.count = elf_mappings(elf, phase, mappings);
	plan_in_place(&image, 0, settings, elf_file_bytes(elf), &plan);
	if (settings->rebase || elf->type != ET_DYN)
		out->file_bytes = plan.range_bytes;
}

void forecast_make(const struct elf_facts *elf, const struct settings *settings, uint64_t page_bytes,
                   struct forecast *out)
{
	struct mapping mappings[ELF_SEGMENTS_MAX];
	bool moves = elf->type == ET_DYN;
	unsigned biases = moves ? BIASES_MAX : 1;
	*out = (struct forecast){.fewest_bytes = UINT64_MAX};
	for (unsigned i = 0; i < biases; i++) {
		uint64_t step = page_bytes / BIASES_MAX;
		struct image image = {.mappings = mappings};
		image.count = elf_mappings(elf, i * step, mappings);
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
	forecast_file(elf, settings, out);
}
