/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_blocks.h - which parts of an ELF file can be mapped as text by huge pages of the page cache. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/pages.h"
#include "remap/page_cache.h"
#include "sandbox/elf/elf_client.h"

struct text_slots {
	struct file_range ranges[ELF_SEGMENTS_MAX];
	unsigned count;
	uint64_t text_bytes; /* executable segments, in the file */
	uint64_t slot_bytes; /* of it in whole slots of a huge page, in RANGES */
	struct error reason; /* set if there is none: "no-text", "no-huge-slot", "file-misaligned" */
};

/*
 * The whole slots of HUGE_BYTES of text in a file with these headers. One at a fixed address has them if that agrees
 * with the file offset modulo HUGE_BYTES. One that can be moved (ET_DYN) has all of them, as a program, which is moved
 * to make them agree; as a library that ld.so maps, only those that agree if the file's beginning does (IS_LIBRARY).
 */
void text_slots_of(const struct elf_info *elf, bool is_library, uint64_t huge_bytes, struct text_slots *out);

/*
 * The same of a program whose slots at the ends of the text may be mapped with what lies beside it (plan_in_place.h).
 * The slots hold more than text then.
 */
void text_slots_rounded(const struct elf_info *elf, const struct page_sizes *pages, struct text_slots *out);

/* Add the whole slots of the program's read-only data to SLOTS, as far as there is room. */
void text_slots_add_rodata(const struct elf_info *elf, const struct page_sizes *pages, struct text_slots *slots);
