/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ld_cache.h - /etc/ld.so.cache, in which ld.so looks a library up by its name (glibc, sysdeps/generic/dl-cache.h).
 *
 * Pure. The bytes may be anybody's: nothing in them is believed, and no offset is followed out of them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LD_CACHE_BYTES_MAX (UINT32_C(16) << 20)

struct ld_cache {
	const char *bytes; /* of the new format's part; NULL: there is none */
	size_t size;
	uint32_t count;
	uint32_t levels_off, levels_count; /* names of the folders below glibc-hwcaps that entries may be about */
};

/*
 * Find the new format's part in the SIZE bytes at BYTES, behind which stands a NUL. If it is none of ld.so's caches,
 * or broken, CACHE is empty: nothing is found in it.
 */
void ld_cache_open(struct ld_cache *cache, const char *bytes, size_t size);

/*
 * The path of the library NAME for a processor whose best level is LEVEL (loader_level()), or NULL. It is the cache's
 * own.
 */
const char *ld_cache_find(const struct ld_cache *cache, const char *name, unsigned level);
