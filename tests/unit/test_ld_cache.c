/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ld.so.cache: what glibc's ldconfig writes, and bytes made to hurt whoever reads it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/elf_arch.h"
#include "sandbox/elf/ld_cache.h"

#define ENTRIES  5
#define STRINGS  256
#define NO_LEVEL LOADER_LEVELS
#define EXTENDED (UINT64_C(1) << 62)

/* A cache as ldconfig(8) of glibc 2.33 and later writes it. */
struct cache {
	char magic[20];
	uint32_t count, strings_bytes;
	uint8_t flags, padding[3];
	uint32_t extension_off, unused[3];
	struct {
		int32_t flags;
		uint32_t key, value, os_version;
		uint64_t hwcap;
	} entries[ENTRIES];
	char strings[STRINGS];
	uint32_t extension_magic, extension_count;
	struct {
		uint32_t tag, flags, off, bytes;
	} extension;
	uint32_t levels[2];
	char end; /* the NUL behind */
};

#define CACHE_BYTES offsetof(struct cache, end)

static unsigned used;

static uint32_t string(struct cache *cache, const char *text)
{
	uint32_t at = (uint32_t)offsetof(struct cache, strings) + used;
	strcpy(cache->strings + used, text);
	used += (unsigned)strlen(text) + 1;
	return at;
}

static void entry(struct cache *cache, unsigned index, int32_t flags, const char *name, const char *path,
                  uint64_t hwcap)
{
	cache->entries[index].flags = flags;
	cache->entries[index].key = string(cache, name);
	cache->entries[index].value = string(cache, path);
	cache->entries[index].hwcap = hwcap;
}

static struct cache good(void)
{
	static const char *const levels[2 + LOADER_LEVELS] = {LOADER_LEVEL_NAMES};
	struct cache cache = {.count = ENTRIES, .extension_magic = 0xeaa42174, .extension_count = 1};
	memcpy(cache.magic, "glibc-ld.so.cache1.1", sizeof cache.magic);
	used = 0;
	entry(&cache, 0, 0x0803, "liba.so.1", "/lib32/liba.so.1", 0); /* of another kind */
	entry(&cache, 1, LD_CACHE_FLAGS, "liba.so.1", "/lib/liba.so.1", 0);
	entry(&cache, 2, LD_CACHE_FLAGS, "libb.so.1", "/lib/libb.so.1", 0);
	entry(&cache, 3, LD_CACHE_FLAGS, "libb.so.1", "/lib/middle/libb.so.1", EXTENDED | 0);
	entry(&cache, 4, LD_CACHE_FLAGS, "libb.so.1", "/lib/best/libb.so.1", EXTENDED | 1);
	cache.extension_off = offsetof(struct cache, extension_magic);
	cache.extension.tag = 1;
	cache.extension.off = offsetof(struct cache, levels);
	cache.extension.bytes = sizeof cache.levels;
	/* Where the processor has no levels, those of another one, which count for nothing. */
	cache.levels[0] = string(&cache, levels[1] ? levels[1] : "z14");
	cache.levels[1] = string(&cache, levels[0] ? levels[0] : "z15");
	return cache;
}

static void finds(const struct cache *cache, const char *name, unsigned level, const char *path)
{
	struct ld_cache opened;
	ld_cache_open(&opened, (const char *)cache, CACHE_BYTES);
	const char *found = ld_cache_find(&opened, name, level);
	if (path)
		assert_string_equal(found ? found : "nothing", path);
	else
		assert_null(found);
}

static void a_library_by_its_name(void **state)
{
	(void)state;
	struct cache cache = good();
	finds(&cache, "liba.so.1", NO_LEVEL, "/lib/liba.so.1");
	finds(&cache, "liba.so", NO_LEVEL, NULL);
	finds(&cache, "", NO_LEVEL, NULL);
}

static void the_best_for_the_processor(void **state)
{
	(void)state;
	struct cache cache = good();
	finds(&cache, "libb.so.1", NO_LEVEL, "/lib/libb.so.1");
	if (NO_LEVEL == 0)
		return;
	finds(&cache, "libb.so.1", 2, "/lib/libb.so.1");
	finds(&cache, "libb.so.1", 1, "/lib/middle/libb.so.1");
	finds(&cache, "libb.so.1", 0, "/lib/best/libb.so.1");
	cache.entries[4].hwcap = EXTENDED | 7; /* no such name */
	finds(&cache, "libb.so.1", 0, "/lib/middle/libb.so.1");
	cache.entries[3].hwcap = 4; /* a bit of the old kind */
	finds(&cache, "libb.so.1", 0, "/lib/libb.so.1");
}

static void behind_one_of_the_old_format(void **state)
{
	(void)state;
	struct {
		char magic[12];
		uint32_t count;
		uint32_t entry[3], padding;
		struct cache cache;
	} both = {"ld.so-1.7.0", 1, {0}, 0, good()};
	struct ld_cache opened;
	size_t bytes = offsetof(__typeof__(both), cache) + CACHE_BYTES;
	ld_cache_open(&opened, (const char *)&both, bytes);
	assert_string_equal(ld_cache_find(&opened, "liba.so.1", NO_LEVEL), "/lib/liba.so.1");
	both.count = UINT32_MAX;
	ld_cache_open(&opened, (const char *)&both, bytes);
	assert_null(ld_cache_find(&opened, "liba.so.1", NO_LEVEL));
}

static void broken_ones_hold_nothing(void **state)
{
	(void)state;
	struct cache cache = good();
	cache.count = UINT32_MAX;
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.magic[19] = '2';
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.flags = 3; /* of a machine with the other byte order */
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.entries[1].key = UINT32_MAX;
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.entries[1].value = UINT32_MAX;
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.entries[1].value += 1; /* "lib/liba.so.1": no absolute path */
	finds(&cache, "liba.so.1", 0, NULL);
	cache = good();
	cache.extension.off = UINT32_MAX;
	finds(&cache, "libb.so.1", 0, "/lib/libb.so.1");
	cache.extension.bytes = UINT32_MAX;
	finds(&cache, "libb.so.1", 0, "/lib/libb.so.1");
	cache.extension_off = UINT32_MAX;
	finds(&cache, "libb.so.1", 0, "/lib/libb.so.1");
}

/* In memory of its own, so that the sanitizers see a read behind its end. */
static void cut_off_anywhere(void **state)
{
	(void)state;
	struct cache cache = good();
	for (size_t size = 0; size <= CACHE_BYTES; size++) {
		struct ld_cache opened;
		char *bytes = malloc(size + 1);
		assert_non_null(bytes);
		memcpy(bytes, &cache, size);
		bytes[size] = '\0';
		ld_cache_open(&opened, bytes, size);
		const char *found = ld_cache_find(&opened, "libb.so.1", 0);
		assert_true(!found || (found > bytes && found < bytes + size));
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_library_by_its_name),
	    cmocka_unit_test(the_best_for_the_processor),
	    cmocka_unit_test(behind_one_of_the_old_format),
	    cmocka_unit_test(broken_ones_hold_nothing),
	    cmocka_unit_test(cut_off_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
