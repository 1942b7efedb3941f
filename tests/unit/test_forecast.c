/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "remap/plan_estimate.h"

#define MIB (UINT64_C(1) << 20)

static const struct page_sizes usual = {4096, 2 * MIB, 2 * MIB};

/* A program like linkers make: headers, text at TEXT_START, data. */
static struct elf_info program(uint16_t type, uint64_t text_start, uint64_t text_bytes)
{
	return (struct elf_info){
	    .elf_class = ELFCLASS64,
	    .type = type,
	    .segment_count = 3,
	    .segments =
	        {
	            {.vaddr = text_start - 0x1000, .file_bytes = 0x800, .mem_bytes = 0x800, .flags = PF_R},
	            {.vaddr = text_start,
	             .file_off = 0x1000,
	             .file_bytes = text_bytes,
	             .mem_bytes = text_bytes,
	             .flags = PF_R | PF_X},
	            {.vaddr = text_start + text_bytes + 0x10000,
	             .file_off = text_bytes + 0x10000,
	             .file_bytes = 0x1000,
	             .mem_bytes = 0x9000,
	             .flags = PF_R | PF_W},
	        },
	};
}

static struct settings settings_for(uint64_t min_text_bytes)
{
	struct settings settings;
	settings_default(&settings);
	settings.min_text_bytes = min_text_bytes;
	return settings;
}

static void a_fixed_address_has_one_answer(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	struct forecast forecast;
	struct elf_info elf = program(ET_EXEC, 0x401000, 7 * MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.text_bytes, 7 * MIB);
	assert_int_equal(forecast.text_start, 0x401000);
	assert_int_equal(forecast.fewest_bytes, 4 * MIB); /* 0x600000 to 0xa00000 */
	assert_int_equal(forecast.most_bytes, 4 * MIB);
	assert_false(error_is_set(&forecast.reason));
}

static void a_moving_program_has_bounds(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	struct forecast forecast;
	struct elf_info elf = program(ET_DYN, 0x1000, 8 * MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.fewest_bytes, 6 * MIB);
	assert_int_equal(forecast.most_bytes, 8 * MIB); /* only where it happens to be aligned */
}

/* The file backing has slots where offset and address agree; a program that moves is moved for that. */
static void the_file_backing_wants_agreement(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	struct forecast forecast;
	struct elf_info elf = program(ET_DYN, 0x1000, 8 * MIB); /* offset 0x1000 too: whole slots from 2 MiB to 8 MiB */
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 6 * MIB);
	assert_true(forecast.file_needs_rebase);
	elf = program(ET_DYN, 0x3000, 8 * MIB); /* offset 0x1000 still */
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 6 * MIB);
	settings.rebase = false;
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 0);
	elf = program(ET_EXEC, 0x401000, 8 * MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 6 * MIB);
	assert_false(forecast.file_needs_rebase);
	elf = program(ET_EXEC, 0x402000, 8 * MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 0);
}

/* What lies beside the text fills its last slots in place. */
static void the_file_backing_is_rounded_out(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	struct forecast forecast;
	struct elf_info elf = program(ET_EXEC, 0x401000, 8 * MIB);
	settings.round_out = true;
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 8 * MIB); /* the first slot; the last has data in it */
	elf.segments[2].flags = PF_R;
	elf.segments[2].file_off += 0x1000; /* in step with the text */
	elf.segments[2].file_bytes = elf.segments[2].mem_bytes = 4 * MIB;
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.file_bytes, 10 * MIB);
}

static void small_text_has_a_reason(void **state)
{
	(void)state;
	struct settings settings = settings_for(4 * MIB);
	struct forecast forecast;
	struct elf_info elf = program(ET_DYN, 0x1000, 3 * MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.most_bytes, 0);
	assert_string_equal(reason_word(forecast.reason.code), "text-small");
	settings.min_text_bytes = 0;
	elf = program(ET_DYN, 0x1000, MIB);
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.most_bytes, 0);
	assert_string_equal(reason_word(forecast.reason.code), "no-huge-slot");
}

/* Headers may say anything that the reader lets through. */
static void absurd_headers_do_no_harm(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	settings.round_out = true;
	struct forecast forecast;
	struct elf_info elf = {.type = ET_DYN};
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_int_equal(forecast.most_bytes, 0);
	assert_true(error_is_set(&forecast.reason));
	elf.segment_count = ELF_SEGMENTS_MAX;
	for (unsigned i = 0; i < ELF_SEGMENTS_MAX; i++)
		elf.segments[i] = (struct elf_segment){.vaddr = (UINT64_C(1) << 62) - i,
		                                       .file_off = 5,
		                                       .file_bytes = UINT64_C(1) << 61,
		                                       .mem_bytes = UINT64_C(1) << 61,
		                                       .flags = PF_R | PF_X};
	forecast_make(&elf, &settings, &usual, 2 * MIB, &forecast);
	assert_true(forecast.most_bytes <= forecast.text_bytes + 4 * MIB);
}

/* Base pages of 16 and 64 KiB, as other processors have: all that is said is in whole pages of that system. */
static void other_page_sizes_are_taken_as_they_are(void **state)
{
	(void)state;
	struct settings settings = settings_for(0);
	struct forecast forecast;
	for (uint64_t base = 4096; base <= 65536; base *= 4) {
		struct page_sizes pages = pages_of_base(base);
		uint64_t huge = pages.huge_bytes;
		struct elf_info elf = program(ET_DYN, 0x1000, 4 * huge + base + 1);
		elf.segments[1].vaddr = elf.segments[1].file_off = base + 0x10;
		forecast_make(&elf, &settings, &pages, huge, &forecast);
		assert_int_equal(forecast.text_bytes, 4 * huge + 2 * base);
		assert_int_equal(forecast.text_start % base, 0);
		assert_int_equal(forecast.fewest_bytes, 3 * huge);
		assert_int_equal(forecast.most_bytes, 4 * huge);
		assert_int_equal(forecast.file_bytes, 3 * huge);
		/* Huge pages that several entries make up (arm64): of less than the page tables' own. */
		forecast_make(&elf, &settings, &pages, 2 * MIB, &forecast);
		assert_int_equal(forecast.most_bytes, 4 * huge);
		assert_int_equal(forecast.fewest_bytes, 4 * huge - 2 * MIB);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_fixed_address_has_one_answer),
	    cmocka_unit_test(a_moving_program_has_bounds),
	    cmocka_unit_test(the_file_backing_is_rounded_out),
	    cmocka_unit_test(the_file_backing_wants_agreement),
	    cmocka_unit_test(small_text_has_a_reason),
	    cmocka_unit_test(absurd_headers_do_no_harm),
	    cmocka_unit_test(other_page_sizes_are_taken_as_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
