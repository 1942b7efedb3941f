/* SPDX-License-Identifier: Apache-2.0 */
/* first_text.h - a process as a plan has it: parsed maps, and which of them is the program's text. After cmocka.h. */
#pragma once

#include "mm/maps.h"

/* Parse MAPS into SPACE, of a program whose entry point is ENTRY. Returns the index of its first text. */
static inline size_t first_text(const char *maps, uint64_t entry, struct address_space *space)
{
	const uint64_t entry_only[] = {9, entry, 0, 0};
	struct error err = {0};
	assert_int_equal(address_space_parse(maps, entry_only, 4, 4096, space, &err), 0);
	size_t text = 0;
	while (text < space->count && !mapping_is_text(&space->mappings[text]))
		text++;
	return text;
}
