/* SPDX-License-Identifier: Apache-2.0 */
/* A library while ld.so maps it: one step after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "remap/awaited_library.h"

#define PAGE 4096

static const uint64_t entry_only[] = {9 /* AT_ENTRY */, 0x401000, 0, 0};

static const struct awaited_library library = {
    .path = "/lib/x.so", .dev_major = 0xfe, .inode = 42, .has_relro = true, .relro_file_off = 0x4000};

struct seen {
	uint64_t look;
	bool is_writable;
	ssize_t at;
};

static struct seen look(const char *maps)
{
	struct seen seen;
	struct address_space space;
	assert_int_equal(address_space_parse(maps, entry_only, 4, PAGE, &space, NULL), 0);
	seen.look = awaited_library_look(&space, &library, &seen.is_writable);
	seen.at = awaited_library_find(&space, &library);
	address_space_free(&space);
	return seen;
}

static void test_steps(void **state)
{
	(void)state;
	/* As a whole; its text; its data, over the end of what was mapped as a whole; relocation data read-only. */
	struct seen steps[] = {
	    look("700000-708000 r--p 00000000 fe:00 42 /lib/x.so\n"),
	    look("700000-701000 r--p 00000000 fe:00 42 /lib/x.so\n"
	         "701000-703000 r-xp 00001000 fe:00 42 /lib/x.so\n"
	         "703000-708000 r--p 00003000 fe:00 42 /lib/x.so\n"),
	    look("700000-701000 r--p 00000000 fe:00 42 /lib/x.so\n"
	         "701000-703000 r-xp 00001000 fe:00 42 /lib/x.so\n"
	         "703000-704000 r--p 00003000 fe:00 42 /lib/x.so\n"
	         "704000-706000 rw-p 00004000 fe:00 42 /lib/x.so\n"
	         "706000-708000 rw-p 00000000 00:00 0 \n"),
	    look("700000-701000 r--p 00000000 fe:00 42 /lib/x.so\n"
	         "701000-703000 r-xp 00001000 fe:00 42 /lib/x.so\n"
	         "703000-704000 r--p 00003000 fe:00 42 /lib/x.so\n"
	         "704000-705000 r--p 00004000 fe:00 42 /lib/x.so\n"
	         "705000-706000 rw-p 00005000 fe:00 42 /lib/x.so\n"
	         "706000-708000 rw-p 00000000 00:00 0 \n"),
	};
	assert_true(steps[0].look == 0 && steps[0].at == -1 && !steps[0].is_writable);
	for (size_t i = 1; i < sizeof steps / sizeof steps[0]; i++) {
		assert_true(steps[i].look != 0 && steps[i].look != steps[i - 1].look);
		assert_int_equal(steps[i].at, 1);
		assert_int_equal(steps[i].is_writable, i == 2);
	}
}

/* What has its name, or its inode on another device, is another file. */
static void test_others(void **state)
{
	(void)state;
	assert_int_equal(look("701000-703000 r-xp 00001000 fe:00 43 /lib/x.so\n").look, 0);
	assert_int_equal(look("701000-703000 r-xp 00001000 fe:01 42 /lib/x.so\n").look, 0);
	assert_true(look("701000-703000 r-xp 00001000 fe:00 42 /other (deleted)\n").look != 0);
	assert_int_equal(look("701000-703000 rw-p 00000000 00:00 0 \n").look, 0);
}

/* What ld.so does elsewhere changes nothing. */
static void test_the_rest(void **state)
{
	(void)state;
	assert_int_equal(look("701000-703000 r-xp 00001000 fe:00 42 /lib/x.so\n").look,
	                 look("600000-601000 rw-p 00000000 00:00 0 \n"
	                      "701000-703000 r-xp 00001000 fe:00 42 /lib/x.so\n")
	                     .look);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_steps),
	    cmocka_unit_test(test_others),
	    cmocka_unit_test(test_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
