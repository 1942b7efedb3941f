/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ld.so.cache of any bytes, as that of a container's root may be.
 */
#include "arch/elf_arch.h"
#include "fuzzing.h"
#include "sandbox/elf/ld_cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"libc.so.6", "liba.so.1", "", "x"};
	struct ld_cache cache;
	char *bytes = malloc(size + 1);
	MUST(bytes);
	memcpy(bytes, data, size);
	bytes[size] = '\0';
	ld_cache_open(&cache, bytes, size);
	for (unsigned level = 0; level <= LOADER_LEVELS; level++) {
		for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
			const char *path = ld_cache_find(&cache, names[i], level);
			MUST(!path || (path >= bytes && path < bytes + size && *path == '/'));
		}
	}
	free(bytes);
	return 0;
}
