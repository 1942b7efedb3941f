/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/ld_cache.h"

#include <stdbool.h>
#include <string.h>

#include "arch/elf_arch.h"

#define OLD_MAGIC        "ld.so-1.7.0"
#define NEW_MAGIC        "glibc-ld.so.cache1.1" /* magic and version */
#define EXTENSION_MAGIC  UINT32_C(0xeaa42174)
#define EXTENSIONS_MAX   64                  /* sections; glibc 2.36 has two */
#define TAG_LEVELS       1                   /* cache_extension_tag_glibc_hwcaps */
#define LEVEL_ENTRY      (UINT64_C(1) << 30) /* DL_CACHE_HWCAP_EXTENSION, of the upper half */
#define BIG_ENDIAN_FLAGS 3

struct old_header {
	char magic[12];
	uint32_t count;
};

struct old_entry {
	int32_t flags;
	uint32_t key, value;
};

struct new_header {
	char magic[20];
	uint32_t count, strings_bytes;
	uint8_t flags, padding[3];
	uint32_t extension_off;
	uint32_t unused[3];
};

struct new_entry {
	int32_t flags;
	uint32_t key, value, os_version;
	uint64_t hwcap; /* 0, a set of old bits, or LEVEL_ENTRY and the index of a name */
};

struct extension_header {
	uint32_t magic, count;
};

struct extension {
	uint32_t tag, flags, off, bytes;
};

_Static_assert(sizeof(struct old_header) == 16 && sizeof(struct old_entry) == 12, "as glibc's cache_file");
_Static_assert(sizeof(struct new_header) == 48 && sizeof(struct new_entry) == 24, "as glibc's cache_file_new");

/* Copy BYTES at OFF of the cache; false if they are not all in it. */
static bool take(const struct ld_cache *cache, uint64_t off, void *out, size_t bytes)
{
	if (off > cache->size || bytes > cache->size - off)
		return false;
	memcpy(out, cache->bytes + off, bytes);
	return true;
}

static const char *string_at(const struct ld_cache *cache, uint32_t off)
{
	return off < cache->size ? cache->bytes + off : ""; /* ends at the latest with the NUL behind the bytes */
}

static void find_levels(struct ld_cache *cache, uint32_t extension_off)
{
	struct extension_header header;
	struct extension extension;
	if (!extension_off || !take(cache, extension_off, &header, sizeof header) || header.magic != EXTENSION_MAGIC)
		return;
	for (uint32_t i = 0; i < header.count && i < EXTENSIONS_MAX; i++) {
		if (!take(cache, extension_off + sizeof header + (uint64_t)i * sizeof extension, &extension,
		          sizeof extension))
			return;
		if (extension.tag != TAG_LEVELS)
			continue;
		cache->levels_off = extension.off;
		cache->levels_count = extension.bytes / (uint32_t)sizeof(uint32_t);
		return;
	}
}

/* Where the new format's part begins: behind one of the old format, or at once. */
static size_t new_part(const char *bytes, size_t size)
{
	struct old_header old;
	if (size < sizeof old || memcmp(bytes, OLD_MAGIC, sizeof OLD_MAGIC - 1) != 0)
		return 0;
	memcpy(&old, bytes, sizeof old);
	uint64_t end = sizeof old + (uint64_t)old.count * sizeof(struct old_entry);
	end = (end + 7) / 8 * 8;
	return end < size ? (size_t)end : size;
}

void ld_cache_open(struct ld_cache *cache, const char *bytes, size_t size)
{
	struct new_header header;
	size_t start = new_part(bytes, size);
	*cache = (struct ld_cache){.bytes = bytes + start, .size = size - start};
	if (!take(cache, 0, &header, sizeof header) || memcmp(header.magic, NEW_MAGIC, sizeof header.magic) != 0 ||
	    (header.flags & 3) == BIG_ENDIAN_FLAGS ||
	    header.count > (cache->size - sizeof header) / sizeof(struct new_entry)) {
		*cache = (struct ld_cache){.bytes = NULL};
		return;
	}
	cache->count = header.count;
	find_levels(cache, header.extension_off);
}

/* The level that ENTRY is for, LOADER_LEVELS for any processor's; -1 for one that this processor lacks. */
static int level_of(const struct ld_cache *cache, const struct new_entry *entry, unsigned level)
{
	static const char *const names[] = {LOADER_LEVEL_NAMES};
	uint32_t index = (uint32_t)entry->hwcap, name_off;
	if (entry->hwcap == 0)
		return LOADER_LEVELS;
	if (entry->hwcap >> 32 != LEVEL_ENTRY || index >= cache->levels_count ||
	    !take(cache, cache->levels_off + (uint64_t)index * sizeof name_off, &name_off, sizeof name_off))
		return -1;
	for (unsigned i = level; names[i]; i++) {
		if (strcmp(string_at(cache, name_off), names[i]) == 0)
			return (int)i;
	}
	return -1;
}

const char *ld_cache_find(const struct ld_cache *cache, const char *name, unsigned level)
{
	const char *found = NULL;
	int best = LOADER_LEVELS + 1;
	for (uint32_t i = 0; i < cache->count; i++) {
		struct new_entry entry;
		if (!take(cache, sizeof(struct new_header) + (uint64_t)i * sizeof entry, &entry, sizeof entry) ||
		    entry.flags != LD_CACHE_FLAGS || strcmp(string_at(cache, entry.key), name) != 0)
			continue;
		int at = level_of(cache, &entry, level);
		if (at < 0 || at >= best)
			continue;
		best = at;
		found = string_at(cache, entry.value);
	}
	return found && found[0] == '/' ? found : NULL;
}
