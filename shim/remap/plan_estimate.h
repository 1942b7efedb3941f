/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_estimate.h - what the plan for a program would be, from its ELF headers alone. Pure: no process, no I/O.
 *
 * A position-independent program is loaded at a random page, so how many whole huge-page slots lie inside its text is a
 * matter of luck within bounds; the forecast gives both. The file backing leaves nothing to luck: it has its slots
 * if file offset and address agree modulo a huge page, and moves the program to make them agree.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/pages.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "remap/plan.h"
#include "sandbox/elf/elf_client.h"

struct forecast {
	uint64_t text_bytes;               /* all of the text, in whole base pages as it will be mapped */
	uint64_t text_start, text_end;     /* its hull, as linked */
	uint64_t fewest_bytes, most_bytes; /* on huge pages by a private copy; equal for a program at a fixed address */
	uint64_t file_bytes; /* on huge pages by the file backing, which may rebase a program that moves */
	bool file_needs_rebase;
	uint64_t file_text_bytes, copied_bytes; /* as struct file_forecast */
	struct error file_reason;
	struct error reason; /* why there would be none, in the plan's words; unset otherwise */
};

/* What becomes of an object's text with the file backing first, once its program stands at its entry point. */
struct file_forecast {
	uint64_t in_place_bytes; /* with what lies beside the text in its slots */
	uint64_t copied_bytes;   /* private copies, with coverage "full" */
	uint64_t shared_bytes;   /* mapped from a copy that all processes share, with what lies beside the text */
	uint64_t text_bytes;     /* of its text on huge pages by either */
	struct error reason;     /* "copy-limit" if more would have to be copied */
};

/*
 * Forecast it for the object with these ELF headers, which stands where offset and address of its text agree, or as a
 * library (IS_LIBRARY) where its beginning agrees. HAS_SHARED: the copy that shared_plan_of() is the plan for is there.
 * Never fails: all is 0 if nothing would be done.
 */
void forecast_in_place(const struct elf_info *elf, bool is_library, bool has_shared, const struct settings *settings,
                       const struct page_sizes *pages, struct file_forecast *out);

/* Which slots of the object with these ELF headers a copy for all processes has (plan_shared.h), by its addresses. */
void shared_plan_of(const struct elf_info *elf, const struct page_sizes *pages, struct plan *out);

/* Whether these headers are those of a library: no program names an ELF interpreter for it. */
bool elf_is_library(const struct elf_info *elf);

/*
 * Forecast the plan for the program with these ELF headers, under SETTINGS, on a system with PAGES, and with private
 * copies on huge pages of PAGE_BYTES, a multiple of the base page. Never fails.
 */
void forecast_make(const struct elf_info *elf, const struct settings *settings, const struct page_sizes *pages,
                   uint64_t page_bytes, struct forecast *out);

/*
 * The mappings that the kernel makes of the program headers when it loads the program BIAS bytes above its addresses,
 * on base pages of BASE_BYTES, into MAPPINGS (room for ELF_SEGMENTS_MAX). Returns how many.
 */
size_t elf_mappings(const struct elf_info *elf, uint64_t bias, uint64_t base_bytes, struct mapping *mappings);

/* How far the largest text must be moved up for offset and address to agree modulo a huge page. */
uint64_t elf_phase(const struct elf_info *elf, const struct page_sizes *pages);

/* How long the file is at least: to the end of what is loaded of it. */
uint64_t elf_file_bytes(const struct elf_info *elf);
