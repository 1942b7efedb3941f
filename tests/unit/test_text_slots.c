/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "remap/text_blocks.h"

#define SLOT (UINT64_C(2) << 20)

static const struct page_sizes usual = {4096, SLOT, SLOT};

static struct elf_info program(uint16_t type, uint64_t vaddr, uint64_t file_off, uint64_t file_bytes, uint32_t flags)
{
	struct elf_info elf = {.type = type, .segment_count = 1};
	elf.segments[0] = (struct elf_segment){
	    .vaddr = vaddr, .file_off = file_off, .file_bytes = file_bytes, .mem_bytes = file_bytes, .flags = flags};
	return elf;
}

static void test_whole_slots_inside(void **state)
{
	(void)state;
	struct text_slots out;
	struct elf_info elf = program(ET_DYN, 0x1000, 0x1000, 3 * SLOT, PF_R | PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.ranges[0].file_off, SLOT);
	assert_int_equal(out.ranges[0].bytes, 2 * SLOT);
	assert_int_equal(out.text_bytes, 3 * SLOT);
	assert_int_equal(out.slot_bytes, 2 * SLOT);
	assert_false(error_is_set(&out.reason));
	elf = program(ET_DYN, 0, 0, 2 * SLOT, PF_R | PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.ranges[0].file_off, 0);
	assert_int_equal(out.ranges[0].bytes, 2 * SLOT);
}

/* With read-only data before and behind the text in the same slots of a program that can be moved. */
static void test_rounded(void **state)
{
	(void)state;
	struct text_slots out;
	struct elf_info elf = program(ET_DYN, 0x1000, 0, 0x1000, PF_R);
	elf.segments[1] = (struct elf_segment){
	    .vaddr = 0x2000, .file_off = 0x1000, .file_bytes = 3 * SLOT, .mem_bytes = 3 * SLOT, .flags = PF_R | PF_X};
	elf.segments[2] = (struct elf_segment){.vaddr = 3 * SLOT + 0x2000,
	                                       .file_off = 3 * SLOT + 0x1000,
	                                       .file_bytes = SLOT,
	                                       .mem_bytes = SLOT,
	                                       .flags = PF_R};
	elf.segment_count = 3;
	text_slots_rounded(&elf, &usual, &out);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.ranges[0].file_off, 0);
	assert_int_equal(out.ranges[0].bytes, 4 * SLOT);
	assert_int_equal(out.slot_bytes, 4 * SLOT);
	assert_int_equal(out.text_bytes, 3 * SLOT);
	/* With writable data behind it there is one less. */
	elf.segments[2].flags |= PF_W;
	text_slots_rounded(&elf, &usual, &out);
	assert_int_equal(out.slot_bytes, 3 * SLOT);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.slot_bytes, 2 * SLOT);
}

static void test_fixed_address(void **state)
{
	(void)state;
	struct text_slots out;
	struct elf_info elf = program(ET_EXEC, 0x400000 + 0x3000, 0x3000, 3 * SLOT, PF_R | PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 1);
	assert_false(error_is_set(&out.reason));
	elf.segments[0].vaddr += 0x1000;
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 0);
	assert_string_equal(reason_word(out.reason.code), "file-misaligned");
	assert_int_equal(out.text_bytes, 3 * SLOT);
	assert_int_equal(out.slot_bytes, 0);
	/* One that can be moved is moved to agree. */
	elf.type = ET_DYN;
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 1);
}

/* ld.so maps a library as a whole: what is out of step with its beginning stays so, wherever that comes to stand. */
static void test_library_out_of_step(void **state)
{
	(void)state;
	struct text_slots out;
	struct elf_info elf = program(ET_DYN, 0x1000, 0x1000, 3 * SLOT, PF_R | PF_X);
	elf.segment_count = 2;
	elf.segments[1] = elf.segments[0];
	elf.segments[0] = (struct elf_segment){.file_bytes = 0x800, .mem_bytes = 0x800, .flags = PF_R};
	text_slots_of(&elf, true, SLOT, &out);
	assert_int_equal(out.count, 1);
	elf.segments[1].vaddr += 0x1000;
	text_slots_of(&elf, true, SLOT, &out);
	assert_int_equal(out.count, 0);
	assert_string_equal(reason_word(out.reason.code), "file-misaligned");
	text_slots_of(&elf, false, SLOT, &out); /* as a program it is moved */
	assert_int_equal(out.count, 1);
	elf.segments[0].vaddr += 0x1000; /* the same step for both */
	text_slots_of(&elf, true, SLOT, &out);
	assert_int_equal(out.count, 1);
}

static void test_what_is_no_text(void **state)
{
	(void)state;
	struct text_slots out;
	const uint32_t flags[] = {PF_R, PF_R | PF_W, PF_R | PF_W | PF_X};
	for (unsigned i = 0; i < 3; i++) {
		struct elf_info elf = program(ET_DYN, 0, 0, 4 * SLOT, flags[i]);
		text_slots_of(&elf, false, SLOT, &out);
		assert_int_equal(out.count, 0);
		assert_string_equal(reason_word(out.reason.code), "no-text");
	}
	struct elf_info elf = program(ET_DYN, 0x1000, 0x1000, 2 * SLOT - 0x1001, PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 0);
	assert_string_equal(reason_word(out.reason.code), "no-huge-slot");
}

static void test_absurd_headers(void **state)
{
	(void)state;
	struct text_slots out;
	struct elf_info elf = program(ET_DYN, 0, UINT64_MAX - 0x1000, 4 * SLOT, PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 0);
	elf = program(ET_DYN, 0, SLOT, UINT64_MAX, PF_X);
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, 0);
	elf.segment_count = UINT16_MAX;
	for (unsigned i = 0; i < ELF_SEGMENTS_MAX; i++)
		elf.segments[i] = (struct elf_segment){.file_off = i * SLOT, .file_bytes = SLOT, .flags = PF_X};
	text_slots_of(&elf, false, SLOT, &out);
	assert_int_equal(out.count, ELF_SEGMENTS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole_slots_inside), cmocka_unit_test(test_rounded),
	    cmocka_unit_test(test_fixed_address),      cmocka_unit_test(test_library_out_of_step),
	    cmocka_unit_test(test_what_is_no_text),    cmocka_unit_test(test_absurd_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
