/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "first_text.h"
#include "remap/plan_rest.h"

/* The plan for the first text in MAPS; CHANGED is the index of a mapping that ld.so has written to, -1: none. */
static struct plan plan_within(const char *maps, bool is_loaded, int changed, uint64_t max_bytes)
{
	struct address_space space;
	struct settings settings;
	struct plan plan;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	settings.coverage = COVERAGE_FULL;
	size_t text = first_text(maps, 0x601000, &space);
	if (changed >= 0)
		space.mappings[changed].changed = true;
	plan_rest(&space, text, &settings, is_loaded, 2 * MIB, max_bytes, &plan);
	address_space_free(&space);
	return plan;
}

static struct plan plan_of(const char *maps, bool is_loaded, int changed)
{
	return plan_within(maps, is_loaded, changed, UINT64_MAX);
}

static void expect_piece(const struct plan *plan, unsigned index, uint64_t start, uint64_t end, uint64_t file_off,
                         bool in_memory)
{
	assert_true(index < plan->piece_count);
	assert_int_equal(plan->pieces[index].start, start);
	assert_int_equal(plan->pieces[index].end, end);
	assert_int_equal(plan->pieces[index].file_off, file_off);
	assert_int_equal(plan->pieces[index].in_memory, in_memory);
}

/* Text to 0x98000 of a slot, then a hole, then relocation data to the next slot and beyond, as gold has it. */
static const char gold[] = "00600000-00a98000 r-xp 00000000 fe:00 42 /bin/x\n"
                           "00a99000-00d00000 r--p 00498000 fe:00 42 /bin/x\n"
                           "00d00000-00d10000 rw-p 006ff000 fe:00 42 /bin/x\n";

static void relocation_data(void **state)
{
	(void)state;
	struct plan plan = plan_of(gold, true, 1);
	assert_int_equal(plan.range_count, 1);
	assert_int_equal(plan.ranges[0].start, 0xa00000);
	assert_int_equal(plan.ranges[0].end, 0xc00000);
	assert_int_equal(plan.range_bytes, 2 * MIB);
	assert_int_equal(plan.piece_count, 2);
	expect_piece(&plan, 0, 0xa00000, 0xa98000, 0x400000, false);
	expect_piece(&plan, 1, 0xa99000, 0xc00000, 0x498000, true);
	assert_false(error_is_set(&plan.reason));
}

/* Before ld.so has done its work it is writable; and what has changed for another reason is left alone. */
static void not_yet(void **state)
{
	(void)state;
	struct plan plan = plan_of("00600000-00a98000 r-xp 00000000 fe:00 42 /bin/x\n"
	                           "00a99000-00d10000 rw-p 00498000 fe:00 42 /bin/x\n",
	                           false, -1);
	assert_int_equal(plan.range_count, 0);
	assert_string_equal(reason_word(plan.reason.code), "data-beside-text");
	plan = plan_of(gold, false, 1);
	assert_int_equal(plan.range_count, 0);
	assert_string_equal(reason_word(plan.reason.code), "data-beside-text");
	plan = plan_of(gold, true, 0); /* the text itself */
	assert_int_equal(plan.range_count, 0);
}

static void writable_data_in_the_slot(void **state)
{
	(void)state;
	struct plan plan = plan_of("00600000-00a98000 r-xp 00000000 fe:00 42 /bin/x\n"
	                           "00a99000-00b00000 r--p 00498000 fe:00 42 /bin/x\n"
	                           "00b00000-00d10000 rw-p 004ff000 fe:00 42 /bin/x\n",
	                           true, 1);
	assert_int_equal(plan.range_count, 0);
	assert_string_equal(reason_word(plan.reason.code), "data-beside-text");
}

/* lld's text is a page out of step with the data before it, so that no entry maps both of a slot. */
static void out_of_step_at_the_head(void **state)
{
	(void)state;
	struct plan plan = plan_of("005ff000-0073f000 r--p 00000000 fe:00 42 /bin/x\n"
	                           "00740000-00c00000 r-xp 00140000 fe:00 42 /bin/x\n",
	                           false, -1);
	assert_int_equal(plan.range_count, 1);
	assert_int_equal(plan.ranges[0].start, 0x600000);
	assert_int_equal(plan.ranges[0].end, 0x800000);
	assert_int_equal(plan.piece_count, 2);
	expect_piece(&plan, 0, 0x600000, 0x73f000, 0x1000, false);
	expect_piece(&plan, 1, 0x740000, 0x800000, 0x140000, false);
}

/* As BOLT has it: the old text is out of step with its file, the new one, of which half a slot has data, is not. */
static const char rustc[] = "005ff000-00600000 r--p 00000000 fe:00 42 /bin/x\n"
                            "00600000-00f00000 r-xp 00001000 fe:00 42 /bin/x\n"
                            "00f00000-01000000 r--p 00901000 fe:00 42 /bin/x\n"
                            "01000000-01400000 r-xp 00c00000 fe:00 42 /bin/x\n";

/* Text that is out of step with its file is copied as a whole; what is in step is not. */
static void out_of_step_as_a_whole(void **state)
{
	(void)state;
	struct plan plan = plan_of(rustc, true, -1);
	assert_int_equal(plan.range_count, 1);
	assert_int_equal(plan.ranges[0].start, 0x600000);
	assert_int_equal(plan.ranges[0].end, 0x1000000);
	assert_int_equal(plan.piece_count, 1); /* the last slot's data goes on in the file as its text does */
	expect_piece(&plan, 0, 0x600000, 0x1000000, 0x1000, false);
}

/* With a limit such text is left as a whole, and the reason says how much; the ends of what is in place are copied. */
static void no_more_than_the_limit(void **state)
{
	(void)state;
	struct plan plan = plan_within(rustc, true, -1, REST_BYTES_MAX);
	assert_int_equal(plan.range_count, 0);
	assert_string_equal(reason_word(plan.reason.code), "copy-limit");
	assert_non_null(strstr(plan.reason.detail, "9.0 MiB of its text"));
	char with_end[sizeof rustc + 128];
	snprintf(with_end, sizeof with_end, "%s%s", rustc,
	         "01400000-01480000 r-xp 01000000 fe:00 42 /bin/x\n"
	         "01480000-01600000 r--p 01480000 fe:00 42 /bin/x\n");
	plan = plan_within(with_end, true, -1, REST_BYTES_MAX);
	assert_int_equal(plan.range_count, 1);
	assert_int_equal(plan.ranges[0].start, 0x1400000);
	assert_int_equal(plan.range_bytes, 2 * MIB);
	assert_string_equal(reason_word(plan.reason.code), "copy-limit");
	plan = plan_within(with_end, true, -1, 1 * MIB);
	assert_int_equal(plan.range_count, 0);
	assert_non_null(strstr(plan.reason.detail, "11.0 MiB of its text"));
}

static void nothing_is_left_of_what_is_in_place(void **state)
{
	(void)state;
	struct plan plan = plan_of("00600000-01000000 r-xp 00000000 fe:00 42 /bin/x\n", true, -1);
	assert_int_equal(plan.range_count, 0);
	assert_false(error_is_set(&plan.reason));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(relocation_data),
	    cmocka_unit_test(not_yet),
	    cmocka_unit_test(writable_data_in_the_slot),
	    cmocka_unit_test(out_of_step_at_the_head),
	    cmocka_unit_test(out_of_step_as_a_whole),
	    cmocka_unit_test(no_more_than_the_limit),
	    cmocka_unit_test(nothing_is_left_of_what_is_in_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
