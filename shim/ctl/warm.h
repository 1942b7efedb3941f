/*
 * warm.h - prepare the page cache for a program before anyone starts it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "elf/elf_reader.h"
#include "engine/page_cache.h"

struct warmed {
	uint64_t text_bytes; /* executable segments, in the file */
	uint64_t slot_bytes; /* of it in whole slots of 2 MiB, which can be huge */
	uint64_t huge_bytes; /* of these on huge pages now */
	struct error reason; /* set: why that is not all */
	bool missing;        /* there is no such file */
};

#define WARM_RANGES_MAX ELF_SEGMENTS_MAX

/*
 * Pure: the ranges of the file that hold whole slots of text which can be mapped by huge pages: of a program or library
 * that can be moved (ET_DYN) all of them, of one at a fixed address where that agrees with the file offset modulo 2
 * MiB. Fills in text_bytes, slot_bytes and (where there is none) reason of OUT. Returns the number of ranges.
 */
unsigned warm_ranges(const struct elf_facts *elf, struct file_range ranges[WARM_RANGES_MAX], struct warmed *out);

/* Told while a file is being read: bytes seen to of how many. */
typedef void warm_observer(void *context, uint64_t done_bytes, uint64_t all_bytes);

/* Prepare the file at PATH. Never fails: OUT says what became of it. OBSERVE may be NULL. */
void warm_file(const char *path, warm_observer *observe, void *context, struct warmed *out);
