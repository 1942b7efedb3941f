/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/awaited_library.h"

#include <sys/mman.h>

static bool is_of(const struct mapping *mapping, const struct awaited_library *library)
{
	return mapping->inode != 0 && mapping->inode == library->inode && mapping->dev_major == library->dev_major &&
	       mapping->dev_minor == library->dev_minor;
}

ssize_t awaited_library_find(const struct address_space *space, const struct awaited_library *library)
{
	for (size_t i = 0; i < space->count; i++) {
		if (is_of(&space->mappings[i], library) && mapping_is_text(&space->mappings[i]))
			return (ssize_t)i;
	}
	return -1;
}

/* FNV-1a. */
static uint64_t add(uint64_t hash, uint64_t word)
{
	for (int i = 0; i < 64; i += 8)
		hash = (hash ^ (word >> i & 0xff)) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t awaited_library_look(const struct address_space *space, const struct awaited_library *library,
                              bool *is_writable)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	*is_writable = false;
	if (awaited_library_find(space, library) < 0)
		return 0;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		if (!is_of(mapping, library))
			continue;
		hash = add(add(add(hash, mapping->start), mapping->end), mapping->file_off);
		hash = add(hash, (uint64_t)mapping->prot);
		*is_writable |= library->has_relro && (mapping->prot & PROT_WRITE) &&
		                library->relro_file_off >= mapping->file_off &&
		                library->relro_file_off - mapping->file_off < mapping->end - mapping->start;
	}
	return hash ? hash : 1;
}
