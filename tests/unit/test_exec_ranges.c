/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which object an instruction belongs to, from texts as /proc/PID/maps has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/exec_ranges.h"

static struct code_objects objects;
static struct exec_ranges ranges;

static void read_maps(const char *maps)
{
	assert_int_equal(exec_ranges_read(maps, &objects, &ranges), 0);
}

static int tear_down(void **state)
{
	(void)state;
	exec_ranges_free(&ranges);
	code_objects_free(&objects);
	return 0;
}

/* The range that IP is in, which there is. */
static struct exec_range range_at(uint64_t ip)
{
	const struct exec_range *range = exec_ranges_find(&ranges, ip);
	assert_non_null(range);
	return range ? *range : (struct exec_range){0};
}

static const struct code_object *object_at(uint64_t ip)
{
	return &objects.list[range_at(ip).object];
}

static uint64_t offset_at(uint64_t ip)
{
	struct exec_range range = range_at(ip);
	return range.file_off + (ip - range.start);
}

/* Two of hugexec's copies, of a memfd and of a hugetlb file, then what is left of the file. */
static void copies_are_the_file_that_they_were_made_of(void **state)
{
	(void)state;
	read_maps("00200000-00400000 r-xp 00001000 fd:01 7 /usr/bin/server\n"
	          "00400000-00800000 r-xs 00000000 00:01 91 /memfd:hugexec (deleted)\n"
	          "00800000-00a00000 r-xs 00000000 00:10 92 /anon_hugepage (deleted)\n"
	          "00a00000-00b00000 r-xp 00801000 fd:01 7 /usr/bin/server\n");
	for (uint64_t ip = 0x200000; ip < 0xb00000; ip += 0x100000) {
		assert_string_equal(object_at(ip)->path, "/usr/bin/server");
		assert_int_equal(offset_at(ip), ip - 0x200000 + 0x1000);
	}
	assert_int_equal(objects.count, 1);
	assert_false(objects.list[0].is_jit);
	assert_null(exec_ranges_find(&ranges, 0xb00000));
	assert_null(exec_ranges_find(&ranges, 0x1fffff));
}

/* A JIT compiler's memory file: with a gap below it, behind memory without a file, behind data, or writable itself. */
static void other_memory_files_are_a_jit_s(void **state)
{
	(void)state;
	static const char *const maps[] = {
	    "00200000-00400000 r-xp 00001000 fd:01 7 /usr/bin/server\n"
	    "00401000-00800000 r-xs 00000000 00:01 91 /memfd:jit (deleted)\n",
	    "00200000-00400000 r--p 00000000 00:00 0 \n"
	    "00400000-00800000 r-xs 00000000 00:01 91 /memfd:jit (deleted)\n",
	    "00200000-00400000 rw-p 00001000 fd:01 7 /usr/bin/server\n"
	    "00400000-00800000 r-xs 00000000 00:01 91 /memfd:jit (deleted)\n",
	    "00200000-00400000 r-xp 00001000 fd:01 7 /usr/bin/server\n"
	    "00400000-00800000 rwxs 00000000 00:01 91 /memfd:jit (deleted)\n",
	};
	for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
		read_maps(maps[i]);
		assert_true(object_at(0x500000)->is_jit);
		assert_string_equal(object_at(0x500000)->path, "");
		assert_int_equal(offset_at(0x500000), 0x500000); /* it has no file to have an offset in */
		tear_down(NULL);
	}
}

/* All of JIT memory is one object, and so is a file that was deleted, or that several processes map. */
static void objects_are_told_by_device_and_inode(void **state)
{
	(void)state;
	read_maps("00200000-00400000 r-xp 00000000 fd:01 7 /usr/bin/server (deleted)\n"
	          "00600000-00700000 r-xp 00000000 00:00 0 \n"
	          "00800000-00900000 rwxp 00000000 00:00 0 \n"
	          "7fff0000-7fff1000 r-xp 00000000 00:00 0 [vdso]\n");
	assert_string_equal(object_at(0x200000)->path, "/usr/bin/server");
	assert_ptr_equal(object_at(0x600000), object_at(0x800000));
	assert_null(exec_ranges_find(&ranges, 0x7fff0000));
	assert_int_equal(objects.count, 2);
	exec_ranges_free(&ranges);
	read_maps("00200000-00400000 r-xp 00000000 fd:01 7 /elsewhere/server\n"
	          "00400000-00500000 r-xp 00000000 fd:02 7 /usr/bin/server\n");
	assert_string_equal(object_at(0x200000)->path, "/usr/bin/server");
	assert_int_equal(objects.count, 3);
}

static void what_is_too_much_is_not_told_apart(void **state)
{
	(void)state;
	char *maps = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&maps, &bytes);
	assert_non_null(stream);
	for (unsigned i = 1; i <= CODE_OBJECTS_MAX + 9; i++)
		fprintf(stream, "%08x-%08x r-xp 00000000 fd:01 %u /lib/%u\n", i << 12, (i + 1) << 12, i, i);
	fclose(stream);
	read_maps(maps);
	free(maps);
	assert_int_equal(objects.count, CODE_OBJECTS_MAX);
	assert_int_equal(ranges.count, CODE_OBJECTS_MAX + 9);
	assert_int_equal(range_at(7 << 12).object, 6);
	assert_int_equal(range_at((CODE_OBJECTS_MAX + 9) << 12).object, CODE_OBJECTS_MAX - 1);
}

static void what_is_no_list_of_maps_leaves_nothing(void **state)
{
	(void)state;
	assert_int_equal(
	    exec_ranges_read("00200000-00400000 r-xp 00000000 fd:01 7 /bin/a\nnonsense\n", &objects, &ranges), -1);
	assert_int_equal(ranges.count, 0);
	assert_null(ranges.list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(copies_are_the_file_that_they_were_made_of, tear_down),
	    cmocka_unit_test_teardown(other_memory_files_are_a_jit_s, tear_down),
	    cmocka_unit_test_teardown(objects_are_told_by_device_and_inode, tear_down),
	    cmocka_unit_test_teardown(what_is_too_much_is_not_told_apart, tear_down),
	    cmocka_unit_test_teardown(what_is_no_list_of_maps_leaves_nothing, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
