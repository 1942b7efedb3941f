/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm.h - prepare the page cache for a program before anyone starts it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ctl/share.h"

struct warmed {
	uint64_t text_bytes; /* executable segments, in the file */
	uint64_t slot_bytes; /* of it in whole slots of a huge page, which can be huge; and of read-only data */
	uint64_t huge_bytes; /* of these on huge pages now */
	struct error reason; /* set: why that is not all */
	bool missing;        /* there is no such file */
	struct shared_made shared;
};

/* Told while a file is being read: bytes seen to of how many. */
typedef void warm_observer(void *context, uint64_t done_bytes, uint64_t all_bytes);

/*
 * Prepare the file at PATH, WITH_RODATA also a program's read-only data, WITH_SHARED also a copy of what is out of step
 * in a library (share.h). Never fails: OUT says what became of it. OBSERVE may be NULL.
 */
void warm_file(const char *path, bool with_rodata, bool with_shared, warm_observer *observe, void *context,
               struct warmed *out);
