/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/text_objects.h"

#define MIB (UINT64_C(1) << 20)

static struct text_objects read_objects(const char *smaps)
{
	struct text_objects objects;
	assert_int_equal(text_objects_read(smaps, &objects), 0);
	return objects;
}

/* The head and the tail of the text are the file's, what is between is a copy. */
static void a_copy_counts_for_the_file_around_it(void **state)
{
	(void)state;
	struct text_objects objects =
	    read_objects("00300000-00400000 r--p 00000000 fd:00 7 /usr/bin/big\n"
	                 "00400000-00600000 r-xp 00100000 fd:00 7 /usr/bin/big\n"
	                 "00600000-00a00000 r-xp 00000000 00:01 99 /memfd:/usr/bin/big (deleted)\n"
	                 "Shared_Hugetlb: 0 kB\nPrivate_Hugetlb: 4096 kB\n"
	                 "00a00000-00b00000 r-xp 00700000 fd:00 7 /usr/bin/big\n"
	                 "00b00000-00c00000 rw-p 00800000 fd:00 7 /usr/bin/big\n"
	                 "10000000-10001000 r-xp 00000000 fd:00 8 /usr/lib/libc.so.6\n"
	                 "7fff0000-7fff1000 r-xp 00000000 00:00 0 [vdso]\n");
	assert_int_equal(objects.count, 2);
	assert_string_equal(objects.list[0].path, "/usr/bin/big");
	assert_int_equal(objects.list[0].text_bytes, 7 * MIB);
	assert_int_equal(objects.list[0].huge_bytes, 4 * MIB);
	assert_int_equal(objects.list[0].backing, BACKING_HUGETLB);
	assert_false(text_object_is_shared(&objects.list[0]));
	assert_string_equal(objects.list[1].path, "/usr/lib/libc.so.6");
	assert_int_equal(objects.list[1].backing, BACKING_NONE);
	text_objects_free(&objects);
}

static void a_copy_at_the_very_start_counts_for_what_follows(void **state)
{
	(void)state;
	struct text_objects objects = read_objects("00600000-00a00000 r-xp 00000000 00:01 99 /memfd:x (deleted)\n"
	                                           "ShmemPmdMapped: 4096 kB\n"
	                                           "00a00000-00b00000 r-xp 00700000 fd:00 7 /usr/bin/big\n");
	assert_int_equal(objects.count, 1);
	assert_string_equal(objects.list[0].path, "/usr/bin/big");
	assert_int_equal(objects.list[0].huge_bytes, 4 * MIB);
	assert_int_equal(objects.list[0].backing, BACKING_THP);
	text_objects_free(&objects);
}

/* Libraries may lie without a hole between them: the data of one, then the text of the next, which is a copy. */
static void a_copy_behind_data_counts_for_what_follows(void **state)
{
	(void)state;
	struct text_objects objects = read_objects("00400000-00500000 r-xp 00000000 fd:00 6 /usr/lib/one.so\n"
	                                           "00500000-00600000 rw-p 00100000 fd:00 6 /usr/lib/one.so\n"
	                                           "00600000-00a00000 r-xp 00000000 00:01 99 /memfd:x (deleted)\n"
	                                           "ShmemPmdMapped: 4096 kB\n"
	                                           "00a00000-00b00000 r-xp 00400000 fd:00 7 /usr/lib/two.so\n");
	assert_int_equal(objects.count, 2);
	assert_int_equal(objects.list[0].huge_bytes, 0);
	assert_string_equal(objects.list[1].path, "/usr/lib/two.so");
	assert_int_equal(objects.list[1].text_bytes, 5 * MIB);
	assert_int_equal(objects.list[1].huge_bytes, 4 * MIB);
	text_objects_free(&objects);
}

/* The kernel's own, and what a program compiles while it runs, may lie beside a file that has no code at all. */
static void a_file_without_code_has_no_text(void **state)
{
	(void)state;
	struct text_objects objects =
	    read_objects("00400000-00500000 r--p 00000000 fd:00 6 /usr/lib/locale/C.utf8/LC_CTYPE\n"
	                 "00500000-00502000 r-xp 00000000 00:00 0 [vdso]\n"
	                 "00600000-00700000 r--p 00000000 fd:00 6 /usr/lib/locale/C.utf8/LC_CTYPE\n"
	                 "00700000-00900000 r-xp 00000000 00:00 0 \n"
	                 "00a00000-00b00000 rw-p 00000000 00:00 0 [heap]\n"
	                 "00b00000-00c00000 r-xp 00000000 00:00 0 \n");
	assert_int_equal(objects.count, 1);
	assert_string_equal(objects.list[0].path, "");
	assert_int_equal(objects.list[0].text_bytes, 3 * MIB);
	text_objects_free(&objects);
}

static void names_are_those_that_people_know(void **state)
{
	(void)state;
	static const struct {
		const char *path, *name;
	} cases[] = {
	    {"/usr/bin/big", "/usr/bin/big"},
	    {"/usr/bin/big (deleted)", "/usr/bin/big"},
	    {"/memfd:/usr/bin/big (deleted)", "/usr/bin/big"},
	    {"/memfd: (deleted)", ""},
	    {" (deleted)", ""},
	    {"(deleted)", "(deleted)"},
	    {"/memfd", "/memfd"},
	    {"", ""},
	};
	char buf[64];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct text_object object = {.path = (char *)cases[i].path};
		assert_string_equal(text_object_name(&object, buf, sizeof buf), cases[i].name);
	}
	struct text_object object = {.path = (char *)"/usr/bin/big"};
	assert_string_equal(text_object_name(&object, buf, 5), "/usr");
}

/* One copy may show as several mappings in a row. */
static void copies_in_a_row_count_for_one_file(void **state)
{
	(void)state;
	struct text_objects objects = read_objects("00400000-00600000 r-xp 00100000 fd:00 7 /usr/bin/big\n"
	                                           "00600000-00800000 r-xp 00000000 00:01 98 /memfd:x (deleted)\n"
	                                           "ShmemPmdMapped: 2048 kB\n"
	                                           "00800000-00a00000 r-xp 00000000 00:01 99 /memfd:y (deleted)\n"
	                                           "ShmemPmdMapped: 2048 kB\n"
	                                           "00a00000-00c00000 r-xp 00000000 00:01 97 /memfd:z (deleted)\n"
	                                           "20000000-20200000 r-xp 00000000 00:01 55 /memfd:jit (deleted)\n");
	assert_int_equal(objects.count, 2);
	assert_int_equal(objects.list[0].text_bytes, 8 * MIB);
	assert_int_equal(objects.list[0].huge_bytes, 4 * MIB);
	assert_string_equal(objects.list[1].path, "/memfd:jit (deleted)"); /* stands alone, far from any file */
	text_objects_free(&objects);
}

static void huge_pages_of_the_page_cache_are_shared(void **state)
{
	(void)state;
	struct text_objects objects = read_objects("00400000-00800000 r-xp 00000000 fd:00 7 /usr/bin/big\n"
	                                           "FilePmdMapped: 2048 kB\n");
	assert_int_equal(objects.count, 1);
	assert_int_equal(objects.list[0].huge_bytes, 2 * MIB);
	assert_int_equal(objects.list[0].backing, BACKING_FILE);
	assert_true(text_object_is_shared(&objects.list[0]));
	text_objects_free(&objects);
}

static void writable_code_is_no_text(void **state)
{
	(void)state;
	struct text_objects objects = read_objects("00400000-00800000 rwxp 00000000 00:00 0 \nAnonHugePages: 4096 kB\n"
	                                           "00900000-00a00000 rw-p 00000000 00:00 0 [heap]\n");
	assert_int_equal(objects.count, 0);
	text_objects_free(&objects);
}

static void nonsense_leaves_nothing(void **state)
{
	(void)state;
	struct text_objects objects;
	assert_int_equal(text_objects_read("00400000-00800000 r-xp 00000000 fd:00 7 /a\nnonsense\n", &objects), -1);
	assert_int_equal(objects.count, 0);
	assert_null(objects.list);
	assert_int_equal(text_objects_read("", &objects), 0); /* a kernel thread */
	assert_int_equal(objects.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_copy_counts_for_the_file_around_it),
	    cmocka_unit_test(a_copy_at_the_very_start_counts_for_what_follows),
	    cmocka_unit_test(a_copy_behind_data_counts_for_what_follows),
	    cmocka_unit_test(a_file_without_code_has_no_text),
	    cmocka_unit_test(names_are_those_that_people_know),
	    cmocka_unit_test(copies_in_a_row_count_for_one_file),
	    cmocka_unit_test(huge_pages_of_the_page_cache_are_shared),
	    cmocka_unit_test(writable_code_is_no_text),
	    cmocka_unit_test(nonsense_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
