/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of bench-itlb: TLBs, what a core does with them, layouts. All numbers were computed by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core.h"

#define KIB 1024UL
#define MIB (1024 * KIB)

enum { SKYLAKE, ICE_LAKE, SAPPHIRE, ZEN3, ZEN4, ZEN4_COALESCING, ZEN5, N1, V1, V2 };

static void processors_are_named(void **state)
{
	(void)state;
	assert_string_equal(processors[SKYLAKE].name, "Skylake-SP");
	assert_string_equal(processors[SAPPHIRE].name, "Sapphire Rapids");
	assert_string_equal(processors[ZEN4_COALESCING].name, "Zen 4, coalescing");
	assert_string_equal(processors[N1].name, "Neoverse N1");
	assert_string_equal(processors[V2].name, "Neoverse V2");
}

static unsigned misses_of(struct tlb *tlb, const uint64_t *pages, size_t count, bool huge)
{
	unsigned misses = 0;
	for (size_t i = 0; i < count; i++)
		misses += !tlb_touch(tlb, pages[i] << 1 | huge);
	return misses;
}

/* Two sets of two ways: even pages in one, odd pages in the other. */
static void least_recently_used_goes(void **state)
{
	(void)state;
	struct tlb tlb;
	tlb_init(&tlb, (struct tlb_shape){4, 2});
	/* 2 4: miss, miss; 2: hit; 6 drives out 4, not 2; 2: hit; 4: miss, drives out 6; odd ones are elsewhere */
	static const uint64_t pages[] = {2, 4, 2, 6, 2, 4, 3, 5, 2, 4, 3, 5};
	assert_int_equal(misses_of(&tlb, pages, 12, false), 6);
	/* The same numbers, but of huge pages: not those that are there. */
	assert_int_equal(misses_of(&tlb, pages, 2, true), 2);
	/* They have driven 2 and 4 out of their set, and nothing out of the other. */
	static const uint64_t again[] = {3, 5, 2, 4};
	assert_int_equal(misses_of(&tlb, again, 4, false), 2);
	tlb_free(&tlb);
}

static void fully_associative(void **state)
{
	(void)state;
	struct tlb tlb;
	uint64_t pages[48 * 3], one_more[49 * 3];
	for (unsigned i = 0; i < 48 * 3; i++)
		pages[i] = 1000 + i % 48 * 4096; /* the same set, were there sets */
	for (unsigned i = 0; i < 49 * 3; i++)
		one_more[i] = 1 + i % 49;
	tlb_init(&tlb, (struct tlb_shape){48, 48});
	assert_int_equal(misses_of(&tlb, pages, 48 * 3, false), 48);
	assert_int_equal(misses_of(&tlb, one_more, 49 * 3, false),
	                 49 * 3); /* in turn, one too many: always the next is gone */
	tlb_free(&tlb);
}

/* Fetch from the pages FIRST to FIRST + COUNT - 1, huge in the layout "hugexec full" only. */
static void fetch_pages(struct core *core, uint64_t first, unsigned count)
{
	for (uint64_t page = first; page < first + count; page++) {
		uint64_t keys[LAYOUT_COUNT];
		for (enum layout layout = 0; layout < LAYOUT_COUNT; layout++)
			keys[layout] = page << 1 | (layout == LAYOUT_FULL);
		core_fetch(core, keys);
	}
}

static struct counts counts_of(const struct core *core)
{
	struct counts counts = {0};
	core_add_counts(core, &counts);
	return counts;
}

static void first_level_of_both_sizes(void **state)
{
	(void)state;
	struct core *core = core_new();
	for (unsigned round = 0; round < 10; round++)
		fetch_pages(core, 0x1000, 12);
	struct counts counts = counts_of(core);
	assert_int_equal(counts.fetches, 120);
	assert_int_equal(counts.misses[SKYLAKE][LAYOUT_PLAIN], 12);
	assert_int_equal(counts.misses[SKYLAKE][LAYOUT_FULL], 120); /* 8 entries for huge pages, and 12 in turn */
	assert_int_equal(counts.walks[SKYLAKE][LAYOUT_FULL], 12);
	assert_int_equal(counts.misses[SAPPHIRE][LAYOUT_FULL], 12);
	assert_int_equal(counts.misses[ZEN3][LAYOUT_FULL], 12);
	assert_int_equal(counts.misses[ZEN4_COALESCING][LAYOUT_PLAIN], 3);
	assert_int_equal(counts.misses[ZEN4_COALESCING][LAYOUT_FULL], 12); /* only 4 KiB pages are coalesced */
	core_free(core);
}

static void first_level_too_small(void **state)
{
	(void)state;
	struct core *core = core_new();
	for (unsigned round = 0; round < 3; round++)
		fetch_pages(core, 0x1000, 144); /* nine for each of Skylake's 16 sets of eight ways */
	struct counts counts = counts_of(core);
	assert_int_equal(counts.misses[SKYLAKE][LAYOUT_PLAIN], 3 * 144);
	assert_int_equal(counts.walks[SKYLAKE][LAYOUT_PLAIN], 144);
	assert_int_equal(counts.misses[SAPPHIRE][LAYOUT_PLAIN], 144); /* 32 sets: at most five in each */
	assert_int_equal(counts.misses[N1][LAYOUT_PLAIN], 3 * 144);
	assert_int_equal(counts.walks[N1][LAYOUT_PLAIN], 144);
	core_free(core);
}

/* Pages 256 apart lie in one set of N1's second level, which has five ways. */
static void data_takes_the_shared_second_level(void **state)
{
	(void)state;
	for (unsigned with_data = 0; with_data < 2; with_data++) {
		struct core *core = core_new();
		fetch_pages(core, 0x100000, 1);
		fetch_pages(core, 0x100001, 48); /* drives it out of the first level, not of the second: other sets */
		for (uint64_t page = 1; with_data && page <= 5; page++) {
			core_data(core, (0x200000 + page * 256) * 4096 + 8, false);
			core_data(core, (0x200000 + page * 256) * 4096 + 16, false); /* the same page */
		}
		fetch_pages(core, 0x100000, 1);
		struct counts counts = counts_of(core);
		assert_int_equal(counts.accesses, with_data ? 5 : 0);
		assert_int_equal(counts.misses[N1][LAYOUT_PLAIN], 50);
		assert_int_equal(counts.walks[N1][LAYOUT_PLAIN], with_data ? 50 : 49);
		assert_int_equal(counts.walks[ZEN3][LAYOUT_PLAIN],
		                 49); /* it has a second level for instructions alone */
		core_free(core);
	}
}

/* Thirteen pages that are written lie in one set of the second level, which has 12 ways or 16. */
static void stores_take_it_too(void **state)
{
	(void)state;
	struct core *core = core_new();
	fetch_pages(core, 0x100000, 1);
	for (uint64_t page = 0; page < 13; page++)
		core_data(core, (0x200000 + page * 128) * 4096, true);
	fetch_pages(core, 0x100001, 200); /* the page is no longer in a first level */
	fetch_pages(core, 0x100000, 1);
	struct counts counts = counts_of(core);
	assert_int_equal(counts.walks[SKYLAKE][LAYOUT_PLAIN], 202);
	assert_int_equal(counts.walks[ICE_LAKE][LAYOUT_PLAIN], 201);
	core_free(core);
}

static uint64_t huge_bytes(enum layout layout, struct object object)
{
	object.code_off = object.text_off;
	object.code_bytes = object.text_bytes;
	return layout_huge_bytes(layout, &object);
}

/* 7 MiB of text from 1 MiB of the file on; PIE: at 0x555555554000, so slots of addresses are other ones than the
 * file's. */
static void layouts_of_a_program(void **state)
{
	(void)state;
	struct object pie = {.text_off = 1 * MIB,
	                     .text_bytes = 7 * MIB,
	                     .text_start = 0x555555554000 + 1 * MIB,
	                     .section_off = 2 * MIB,
	                     .section_bytes = 6 * MIB,
	                     .relinked = 0x700000000000};
	assert_int_equal(huge_bytes(LAYOUT_PLAIN, pie), 0);
	/* 0x555555654000 to 0x555555d54000: the slots that begin at ...800000, ...a00000; ...c00000 ends too late */
	assert_int_equal(huge_bytes(LAYOUT_TIEXEC, pie), 4 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_IODLR, pie), 4 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_LIBHUGETLBFS, pie), 7 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_HUGIFIER, pie), 7 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_FILE, pie), 6 * MIB); /* 2 to 8 MiB */
	assert_int_equal(huge_bytes(LAYOUT_FULL, pie), 7 * MIB);
	pie.section_off = 1 * MIB;
	pie.section_bytes = 3 * MIB; /* to 0x555555954000: only ...800000 begins in it, and does not end in it */
	assert_int_equal(huge_bytes(LAYOUT_IODLR, pie), 0);
}

static void layouts_of_a_library(void **state)
{
	(void)state;
	struct object library = {.kind = OBJECT_LIBRARY,
	                         .text_off = 1 * MIB,
	                         .text_bytes = 4 * MIB,
	                         .text_start = 0x7ffff7a00000 + 1 * MIB,
	                         .section_off = 1 * MIB,
	                         .section_bytes = 4 * MIB,
	                         .relinked = 0x700000000000};
	assert_int_equal(huge_bytes(LAYOUT_TIEXEC, library), 0);
	assert_int_equal(huge_bytes(LAYOUT_IODLR, library), 2 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_LIBHUGETLBFS, library), 0);
	assert_int_equal(huge_bytes(LAYOUT_HUGIFIER, library), 4 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_FILE, library), 2 * MIB);
	assert_int_equal(huge_bytes(LAYOUT_FULL, library), 4 * MIB);
	library.kind = OBJECT_LATER;
	assert_int_equal(huge_bytes(LAYOUT_IODLR, library), 0);
	assert_int_equal(huge_bytes(LAYOUT_FULL, library), 2 * MIB);
	library.text_start += 4096; /* offset and address do not agree, and nobody can move it */
	assert_int_equal(huge_bytes(LAYOUT_FILE, library), 0);
	library.kind = OBJECT_LOADER;
	assert_int_equal(huge_bytes(LAYOUT_HUGIFIER, library), 0);
	assert_int_equal(huge_bytes(LAYOUT_FULL, library), 0);
	library.kind = OBJECT_LIBRARY;
	library.text_bytes = 2 * MIB - 4096;
	assert_int_equal(huge_bytes(LAYOUT_FULL, library), 0); /* below min_text */
	assert_int_equal(huge_bytes(LAYOUT_HUGIFIER, library), 2 * MIB - 4096);
}

/* Pages of one slot have one key, those of two slots two. */
static void keys_follow_slots(void **state)
{
	(void)state;
	struct object program = {.fixed = true,
	                         .code_bytes = 8 * MIB,
	                         .text_bytes = 8 * MIB,
	                         .text_start = 0x400000,
	                         .relinked = 0x700000000000};
	assert_int_equal(layout_key(LAYOUT_PLAIN, &program, 4096), 0x401 << 1);
	assert_int_equal(layout_key(LAYOUT_TIEXEC, &program, 0), 2 << 1 | 1);
	assert_int_equal(layout_key(LAYOUT_TIEXEC, &program, 2 * MIB - 4096), 2 << 1 | 1);
	assert_int_equal(layout_key(LAYOUT_FILE, &program, 2 * MIB), 3 << 1 | 1);
	assert_int_equal(layout_key(LAYOUT_HUGIFIER, &program, 6 * MIB), ((0x700000000000 >> 21) + 3) << 1 | 1);
	/* What is beyond its code is on small pages. */
	assert_int_equal(layout_key(LAYOUT_FULL, &program, 8 * MIB), (0x400000 + 8 * MIB) >> 12 << 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(processors_are_named),  cmocka_unit_test(least_recently_used_goes),
	    cmocka_unit_test(fully_associative),     cmocka_unit_test(first_level_of_both_sizes),
	    cmocka_unit_test(first_level_too_small), cmocka_unit_test(data_takes_the_shared_second_level),
	    cmocka_unit_test(stores_take_it_too),    cmocka_unit_test(layouts_of_a_program),
	    cmocka_unit_test(layouts_of_a_library),  cmocka_unit_test(keys_follow_slots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
