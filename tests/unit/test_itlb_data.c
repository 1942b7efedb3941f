/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-rodata's model of data, and where programs and libraries for arm64 lie. All numbers were computed by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data.h"
#include "tlb.h"

#define KIB 1024UL
#define MIB (1024 * KIB)

enum { SKYLAKE, ZEN4, N1 };

static struct object_segment segment(uint64_t off, uint64_t bytes, uint64_t start)
{
	return (struct object_segment){.off = off, .bytes = bytes, .start = start, .end = start + bytes};
}

/* As Go links: text from 4 MiB on, 5 MiB of it, read-only data up to 12 MiB and a page behind that, then data. */
static struct object go_program(void)
{
	struct object program = {
	    .fixed = true, .text_bytes = 5 * MIB, .text_start = 4 * MIB, .file_bytes = 16 * MIB, .segment_count = 3};
	program.segments[0] = segment(0, 5 * MIB, 4 * MIB);
	program.segments[0].executable = true;
	program.segments[1] = segment(5 * MIB, 7 * MIB + 4 * KIB, 9 * MIB);
	program.segments[2] = segment(12 * MIB + 4 * KIB, MIB, 16 * MIB + 4 * KIB);
	program.segments[2].writable = true;
	program.segments[2].end = 40 * MIB;
	return program;
}

static void slots_of_a_program(void **state)
{
	(void)state;
	struct object program = go_program();
	assert_int_equal(data_huge_from(&program, 4 * MIB), DATA_ENDS);
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_ENDS);
	assert_int_equal(data_huge_from(&program, 10 * MIB - 1), DATA_ENDS); /* beside text */
	assert_int_equal(data_huge_from(&program, 10 * MIB), DATA_RODATA);
	assert_int_equal(data_huge_from(&program, 16 * MIB - 1), DATA_RODATA);
	assert_int_equal(data_huge_from(&program, 16 * MIB), DATA_LAYOUT_COUNT); /* beside data that is written to */
	assert_int_equal(data_huge_from(&program, 20 * MIB), DATA_LAYOUT_COUNT);

	program.segments[0].start += 4 * KIB; /* at a fixed address, out of step with its file */
	program.text_start += 4 * KIB;
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_LAYOUT_COUNT);
	program = go_program();
	program.text_bytes = program.segments[0].bytes = 2 * MIB - 4 * KIB; /* below min_text */
	assert_int_equal(data_huge_from(&program, 10 * MIB), DATA_LAYOUT_COUNT);
}

/* Text is alone with read-only data, but not all of a slot is there. */
static void slots_at_the_ends(void **state)
{
	(void)state;
	struct object program = go_program();
	program.segment_count = 2;
	program.segments[1].bytes = 512 * KIB;
	program.segments[1].end = 9 * MIB + 512 * KIB;
	assert_int_equal(data_huge_from(&program, 6 * MIB), DATA_ENDS);
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_LAYOUT_COUNT); /* the heap comes behind it */
	program.segments[1].end = 10 * MIB;
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_ENDS);
	program.file_bytes = 6 * MIB - 1;
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_LAYOUT_COUNT); /* the file ends in it */
}

/* lld maps text a page further than it is in the file: read-only data before it is out of step, and text that is moved
 * is not. */
static void slots_out_of_step(void **state)
{
	(void)state;
	struct object program = {.text_off = 3 * MIB,
	                         .text_bytes = 6 * MIB,
	                         .text_start = 3 * MIB + 4 * KIB,
	                         .file_bytes = 16 * MIB,
	                         .segment_count = 3};
	program.segments[0] = segment(0, 3 * MIB, 0);
	program.segments[1] = segment(3 * MIB, 6 * MIB, 3 * MIB + 4 * KIB);
	program.segments[1].executable = true;
	program.segments[2] = segment(9 * MIB, MIB, 10 * MIB);
	assert_int_equal(data_huge_from(&program, 0), DATA_LAYOUT_COUNT);
	assert_int_equal(data_huge_from(&program, 3 * MIB + 4 * KIB), DATA_LAYOUT_COUNT);
	assert_int_equal(data_huge_from(&program, 4 * MIB + 4 * KIB), DATA_ENDS);
	assert_int_equal(data_huge_from(&program, 8 * MIB), DATA_ENDS);
	assert_int_equal(data_huge_from(&program, 8 * MIB + 4 * KIB), DATA_LAYOUT_COUNT);
}

static void access_pages(struct data_core *core, uint64_t start, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		data_access(core, start + i * 4 * KIB + 8);
		data_access(core, start + i * 4 * KIB + 16); /* the same page */
	}
}

static void data_on_huge_pages(void **state)
{
	(void)state;
	struct object program = go_program();
	struct data_core *core = data_core_new();
	struct data_counts counts = {0};
	uint64_t base = 0x7000000000 + 4 * KIB; /* QEMU's choice, in step with nothing */
	data_begin(&program, base);
	for (unsigned round = 0; round < 3; round++)
		access_pages(core, base + 10 * MIB, 512); /* all of one slot */
	data_add_counts(core, &counts);
	assert_int_equal(counts.accesses, 3 * 512);
	for (unsigned i = 0; i < DATA_PROCESSOR_COUNT; i++) {
		assert_int_equal(counts.misses[i][DATA_PLAIN], 3 * 512);
		assert_int_equal(counts.misses[i][DATA_ENDS], 3 * 512);
		assert_int_equal(counts.misses[i][DATA_RODATA], 1);
		assert_int_equal(counts.walks[i][DATA_PLAIN], 512); /* all second levels hold them */
		assert_int_equal(counts.walks[i][DATA_RODATA], 1);
	}
	access_pages(core, base + 8 * MIB, 512);
	access_pages(core, base + 20 * MIB, 100);
	counts = (struct data_counts){0};
	data_add_counts(core, &counts);
	assert_int_equal(counts.misses[N1][DATA_ENDS], 3 * 512 + 1 + 100);
	assert_int_equal(counts.misses[N1][DATA_RODATA], 1 + 1 + 100);
	data_core_free(core);
}

/* 40 huge pages: more than Skylake has entries for, and than are in one set of them; less than the others have. */
static void first_level_of_huge_pages(void **state)
{
	(void)state;
	struct object program = go_program();
	program.segments[1].bytes = program.file_bytes = 200 * MIB;
	program.segments[2].start = program.segments[2].end = 300 * MIB;
	struct data_core *core = data_core_new();
	struct data_counts counts = {0};
	data_begin(&program, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t slot = 0; slot < 40; slot++)
			data_access(core, 10 * MIB + slot * 2 * MIB);
	}
	data_add_counts(core, &counts);
	assert_int_equal(counts.misses[SKYLAKE][DATA_RODATA], 120); /* five for each of eight sets of four ways */
	assert_int_equal(counts.misses[ZEN4][DATA_RODATA], 40);
	assert_int_equal(counts.misses[N1][DATA_RODATA], 40);
	assert_int_equal(counts.walks[SKYLAKE][DATA_RODATA], 40);
	data_core_free(core);
}

/* Linkers for arm64 align segments to 64 KiB: Linux a program, ld.so a library. Neither does it to 2 MiB. */
static void places_on_arm64(void **state)
{
	(void)state;
	struct object program = {.arm64 = true, .alignment = 64 * KIB, .text_start = 64 * KIB, .span = 9 * MIB};
	object_place(&program);
	assert_int_equal(program.text_start, 0xaaaaaaaa0000 + 64 * KIB);
	struct object library = {
	    .kind = OBJECT_LIBRARY, .arm64 = true, .alignment = 64 * KIB, .aligned = true, .span = 5 * MIB + 4 * KIB};
	object_place(&library); /* 5 MiB and 68 KiB are reserved, of which up to 64 KiB are before it */
	assert_int_equal(library.text_start, 0xfffff8000000 - 5 * MIB - 64 * KIB);
	struct object next = {
	    .kind = OBJECT_LIBRARY, .arm64 = true, .alignment = 4 * KIB, .aligned = true, .span = 3 * MIB};
	object_place(&next); /* as if it were linked for small pages: the kernel aligns it */
	assert_int_equal(next.text_start, 0xfffff8000000 - 10 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(slots_of_a_program),        cmocka_unit_test(slots_at_the_ends),
	    cmocka_unit_test(slots_out_of_step),         cmocka_unit_test(data_on_huge_pages),
	    cmocka_unit_test(first_level_of_huge_pages), cmocka_unit_test(places_on_arm64),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
