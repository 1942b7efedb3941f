/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "first_text.h"
#include "remap/plan_in_place.h"

#define MIB       (UINT64_C(1) << 20)
#define SLOT      (2 * MIB)
#define WHOLE     UINT64_MAX
#define ROUND_OUT true

static struct plan plan_of(const char *maps, bool round_out, uint64_t file_bytes)
{
	struct address_space space;
	struct settings settings;
	struct plan plan;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	settings.round_out = round_out;
	size_t text = first_text(maps, 0x401000, &space);
	plan_in_place(&space, text, &settings, file_bytes, 2 * MIB, &plan);
	address_space_free(&space);
	return plan;
}

static void expect(const struct plan *plan, unsigned index, uint64_t start, uint64_t end, uint64_t file_off)
{
	assert_true(index < plan->range_count);
	assert_int_equal(plan->ranges[index].start, start);
	assert_int_equal(plan->ranges[index].end, end);
	assert_int_equal(plan->ranges[index].piece_count, 1);
	assert_int_equal(plan->pieces[plan->ranges[index].first_piece].file_off, file_off);
}

/* As GNU ld links a program: read-only data before and behind its text, data in a slot further on. */
static const char usual[] = "00400000-00582000 r--p 00000000 fe:00 42 /bin/x\n"
                            "00582000-00c10000 r-xp 00182000 fe:00 42 /bin/x\n"
                            "00c10000-01000000 r--p 00810000 fe:00 42 /bin/x\n"
                            "01001000-01080000 rw-p 00c00000 fe:00 42 /bin/x\n";

static void whole_slots_alone(void **state)
{
	(void)state;
	struct plan plan = plan_of(usual, false, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x600000, 0xc00000, 0x200000);
	assert_int_equal(plan.range_bytes, 6 * MIB);
	assert_int_equal(plan.text_bytes, 0x68e000);
}

static void both_ends(void **state)
{
	(void)state;
	struct plan plan = plan_of(usual, ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x400000, 0xe00000, 0);
	assert_int_equal(plan.range_bytes, 10 * MIB);
	assert_false(error_is_set(&plan.reason));
}

/* A file that ends inside a slot has no huge folio there. */
static void the_file_has_an_end(void **state)
{
	(void)state;
	struct plan plan = plan_of(usual, ROUND_OUT, 0xa00000);
	expect(&plan, 0, 0x400000, 0xe00000, 0);
	plan = plan_of(usual, ROUND_OUT, 0xa00000 - 1);
	expect(&plan, 0, 0x400000, 0xc00000, 0);
	/* And a beginning: a slot cannot begin before it. */
	plan = plan_of("00401000-00402000 r--p 00000000 fe:00 42 /bin/x\n"
	               "00c01000-00e00000 r-xp 00001000 fe:00 42 /bin/x\n",
	               ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0xc00000, 0xe00000, 0);
	plan = plan_of("00401000-00402000 r--p 00000000 fe:00 42 /bin/x\n"
	               "00c01000-00e00000 r-xp 00000000 fe:00 42 /bin/x\n",
	               ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 0);
}

/* Text that fills no slot at all is in one with what lies around it. */
static void text_within_a_slot(void **state)
{
	(void)state;
	static const char small[] = "00400000-00410000 r--p 00000000 fe:00 42 /bin/x\n"
	                            "00410000-00500000 r-xp 00010000 fe:00 42 /bin/x\n"
	                            "00500000-00700000 r--p 00100000 fe:00 42 /bin/x\n";
	struct plan plan = plan_of(small, ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x400000, 0x600000, 0);
	plan = plan_of(small, false, WHOLE);
	assert_int_equal(plan.range_count, 0);
	assert_string_equal(reason_word(plan.reason.code), "no-huge-slot");
}

/* Holes between the object's own mappings are filled, whether ld.so has mapped them as nothing or nobody has. */
static void holes(void **state)
{
	(void)state;
	struct plan plan = plan_of("00400000-00581000 r--p 00000000 fe:00 42 /bin/x\n"
	                           "00582000-00583000 r-xp 00182000 fe:00 42 /bin/x\n"
	                           "00584000-00c10000 r-xp 00184000 fe:00 42 /bin/x\n"
	                           "00c10000-00c12000 ---p 00810000 fe:00 42 /bin/x\n"
	                           "00c12000-01000000 r--p 00812000 fe:00 42 /bin/x\n",
	                           ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x400000, 0xe00000, 0);
	/* And so is what is below the object, but not what is behind it, where the heap may grow. */
	plan = plan_of("00402000-00c10000 r-xp 00002000 fe:00 42 /bin/x\n"
	               "10000000-10001000 r--p 00000000 fe:00 43 /bin/y\n",
	               ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x400000, 0xc00000, 0);
}

static void expect_no_tail(const char *behind)
{
	char maps[512];
	snprintf(maps, sizeof maps, "00600000-00810000 r-xp 00200000 fe:00 42 /bin/x\n%s", behind);
	struct plan plan = plan_of(maps, ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x600000, 0x800000, 0x200000);
}

static void what_is_never_covered(void **state)
{
	(void)state;
	/* Writable, at another offset, of another file, nobody's, shared; in the slot's first page or in its last. */
	expect_no_tail("00810000-00a00000 rw-p 00410000 fe:00 42 /bin/x\n");
	expect_no_tail(
	    "00810000-009ff000 r--p 00410000 fe:00 42 /bin/x\n009ff000-00a00000 rw-p 005ff000 fe:00 42 /bin/x\n");
	expect_no_tail("00810000-00a00000 r--p 00411000 fe:00 42 /bin/x\n");
	expect_no_tail("00810000-00a00000 r--p 00410000 fe:00 43 /bin/y\n");
	expect_no_tail("00810000-009ff000 r--p 00410000 fe:00 42 /bin/x\n009ff000-00b00000 rw-p 00000000 00:00 0 \n");
	expect_no_tail("00810000-00a00000 r--s 00410000 fe:00 42 /bin/x\n");
	expect_no_tail("00810000-009ff000 r--p 00410000 fe:00 42 /bin/x\n");
	expect_no_tail("");
}

static void what_was_changed_is_not_covered(void **state)
{
	(void)state;
	struct address_space space;
	struct settings settings;
	struct plan plan;
	settings_default(&settings);
	settings.round_out = true;
	size_t text = first_text(usual, 0x401000, &space);
	space.mappings[2].changed = true;
	plan_in_place(&space, text, &settings, WHOLE, 2 * MIB, &plan);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x400000, 0xc00000, 0);
	address_space_free(&space);
}

/* Where offset and address differ modulo 2 MiB no entry spans a slot. */
static void out_of_step(void **state)
{
	(void)state;
	struct plan plan = plan_of("00400000-00582000 r--p 00000000 fe:00 42 /bin/x\n"
	                           "00582000-00c10000 r-xp 00181000 fe:00 42 /bin/x\n",
	                           ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 0);
	assert_true(error_is_set(&plan.reason));
	/* Of two texts, as rustc's compiler has, the one that is in step. */
	plan = plan_of("00400000-00582000 r-xp 00001000 fe:00 42 /bin/x\n"
	               "00800000-00c10000 r-xp 00600000 fe:00 42 /bin/x\n",
	               ROUND_OUT, WHOLE);
	assert_int_equal(plan.range_count, 1);
	expect(&plan, 0, 0x800000, 0xc00000, 0x600000);
}

/* Whole slots of what is read-only and in step, before the text and behind it; nothing that is written to, or a copy.
 */
static void read_only_data(void **state)
{
	(void)state;
	static const char maps[] = "00400000-00802000 r--p 00000000 fe:00 42 /bin/x\n"
	                           "00802000-00c10000 r-xp 00402000 fe:00 42 /bin/x\n"
	                           "00c10000-01201000 r--p 00810000 fe:00 42 /bin/x\n"
	                           "01201000-01800000 rw-p 00e01000 fe:00 42 /bin/x\n"
	                           "01a01000-01e02000 r--p 01401000 fe:00 42 /bin/x\n"
	                           "02001000-02801000 r--p 01a02000 fe:00 42 /bin/x\n"
	                           "02a00000-02c00000 r--p 00000000 fe:00 43 /bin/y\n";
	struct address_space space;
	struct plan plan;
	plan_rodata(&space, first_text(maps, 0x803000, &space), SLOT, &plan);
	assert_int_equal(plan.range_count, 3);
	expect(&plan, 0, 0x400000, 0x800000, 0);
	expect(&plan, 1, 0xe00000, 0x1200000, 0xa00000);
	expect(&plan, 2, 0x1c00000, 0x1e00000, 0x1600000);
	address_space_free(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_only_data),
	    cmocka_unit_test(whole_slots_alone),
	    cmocka_unit_test(both_ends),
	    cmocka_unit_test(the_file_has_an_end),
	    cmocka_unit_test(text_within_a_slot),
	    cmocka_unit_test(holes),
	    cmocka_unit_test(what_is_never_covered),
	    cmocka_unit_test(what_was_changed_is_not_covered),
	    cmocka_unit_test(out_of_step),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
