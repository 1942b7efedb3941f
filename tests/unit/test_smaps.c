/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "mm/smaps.h"

#define KB UINT64_C(1024)

static const char two[] =
    "00400000-00600000 r-xp 00001000 fd:1f 123456                             /usr/bin/a b (deleted)\n"
    "Size:               2048 kB\n"
    "KernelPageSize:        4 kB\n"
    "Rss:                2048 kB\n"
    "Pss:                1024 kB\n"
    "AnonHugePages:         1 kB\n"
    "ShmemPmdMapped:        2 kB\n"
    "FilePmdMapped:         3 kB\n"
    "Shared_Hugetlb:        4 kB\n"
    "Private_Hugetlb:       5 kB\n"
    "THPeligible:           1\n"
    "VmFlags: rd ex mr mw me sd sl bt \n"
    "7ffff7ff0000-7ffff7ff2000 rw-s 00000000 00:00 0 \n"
    "Rss:                   8 kB\n";

static void reads_all_fields(void **state)
{
	(void)state;
	struct smaps_cursor cursor = smaps_cursor(two);
	struct smaps_entry entry;
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_int_equal(entry.start, 0x400000);
	assert_int_equal(entry.end, 0x600000);
	assert_string_equal(entry.perms, "r-xp");
	assert_int_equal(entry.file_off, 0x1000);
	assert_int_equal(entry.dev_major, 0xfd);
	assert_int_equal(entry.dev_minor, 0x1f);
	assert_int_equal(entry.inode, 123456);
	assert_string_equal(entry.path, "/usr/bin/a b (deleted)");
	assert_int_equal(entry.rss_bytes, 2048 * KB);
	assert_int_equal(entry.pss_bytes, 1024 * KB);
	assert_int_equal(entry.anon_huge_bytes, 1 * KB);
	assert_int_equal(entry.shmem_pmd_bytes, 2 * KB);
	assert_int_equal(entry.file_pmd_bytes, 3 * KB);
	assert_int_equal(entry.shared_hugetlb_bytes, 4 * KB);
	assert_int_equal(entry.private_hugetlb_bytes, 5 * KB);
	assert_true(entry.sealed && entry.guarded);
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_int_equal(entry.start, 0x7ffff7ff0000);
	assert_string_equal(entry.perms, "rw-s");
	assert_string_equal(entry.path, "");
	assert_int_equal(entry.rss_bytes, 8 * KB);
	assert_false(entry.sealed || entry.guarded);
	assert_int_equal(entry.file_pmd_bytes, 0); /* nothing is left over from the entry before */
	assert_int_equal(smaps_next(&cursor, &entry), 0);
	assert_int_equal(smaps_next(&cursor, &entry), 0);
}

static void unescapes_newlines(void **state)
{
	(void)state;
	struct smaps_entry entry;
	struct smaps_cursor cursor = smaps_cursor("1000-2000 r--p 00000000 00:01 7 /tmp/a\\012b \\01 c\n");
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_string_equal(entry.path, "/tmp/a\nb \\01 c");
	assert_int_equal(smaps_next(&cursor, &entry), 0);
}

static void a_path_cannot_pose_as_a_count(void **state)
{
	(void)state;
	struct smaps_entry entry;
	struct smaps_cursor cursor =
	    smaps_cursor("1000-2000 r--p 00000000 00:01 7 /tmp/x\\012FilePmdMapped: 99 kB\nRss: 4 kB\n");
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_int_equal(entry.file_pmd_bytes, 0);
	assert_int_equal(entry.rss_bytes, 4 * KB);
}

static void refuses_nonsense(void **state)
{
	(void)state;
	static const char *const wrong[] = {
	    "\n",
	    "hello\n",
	    "1000\n",
	    "1000-\n",
	    "1000-2000\n",
	    "1000-2000 r-x\n",
	    "1000-2000 rqxp 0 00:00 0\n",
	    "1000-2000 r-xp zz 00:00 0\n",
	    "1000-2000 r-xp 0 0000 0\n",
	    "1000-2000 r-xp 0 00:00\n",
	    "1000-2000 r-xp 0 00:00 x\n",
	    "-1000-2000 r-xp 0 00:00 0\n",
	    "+1000-2000 r-xp 0 00:00 0\n",
	    " 1000-2000 r-xp 0 00:00 0\n",
	    "11112222333344445-2000 r-xp 0 00:00 0\n", /* more than 64 bits */
	    "Rss: 4 kB\n",                             /* a count that belongs to nothing */
	};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct smaps_entry entry;
		struct smaps_cursor cursor = smaps_cursor(wrong[i]);
		if (smaps_next(&cursor, &entry) != -1)
			fail_msg("accepted: %s", wrong[i]);
		assert_ptr_equal(cursor.at, wrong[i]);
	}
}

static void survives_long_lines(void **state)
{
	(void)state;
	static char text[20000];
	struct smaps_entry entry;
	int header = snprintf(text, sizeof text, "1000-2000 r-xp 00000000 00:01 7 /");
	memset(text + header, 'a', sizeof text - (size_t)header - 2);
	text[sizeof text - 2] = '\n';
	struct smaps_cursor cursor = smaps_cursor(text);
	assert_int_equal(smaps_next(&cursor, &entry), -1); /* longer than any path that can be kept */
	text[header + 4094] = '\n';
	text[header + 4095] = '\0';
	cursor = smaps_cursor(text);
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_int_equal(strlen(entry.path), 4095);
	/* Counts that do not fit are held at the largest number. */
	cursor = smaps_cursor("1000-2000 r-xp 0 00:01 7 /a\nRss: 99999999999999999999999 kB\n");
	assert_int_equal(smaps_next(&cursor, &entry), 1);
	assert_true(entry.rss_bytes == UINT64_MAX);
}

/* Every prefix of a good text: never a crash (the sanitizers look on), never more entries than there are. */
static void survives_truncation(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof two; len++) {
		char *text = strndup(two, len);
		struct smaps_entry entry;
		struct smaps_cursor cursor = smaps_cursor(text);
		int count = 0;
		while (smaps_next(&cursor, &entry) == 1)
			count++;
		assert_in_range(count, 0, 2);
		free(text);
	}
}

static void reads_its_own_process(void **state)
{
	(void)state;
	char *text = NULL;
	assert_int_equal(read_file_at(-1, "/proc/self/smaps", 64U << 20, &text, NULL), 0);
	struct smaps_cursor cursor = smaps_cursor(text);
	struct smaps_entry entry;
	uint64_t here = (uintptr_t)&reads_its_own_process;
	int found = 0, got;
	while ((got = smaps_next(&cursor, &entry)) == 1) {
		if (entry.start <= here && here < entry.end) {
			found++;
			assert_string_equal(entry.perms, "r-xp");
			assert_true(entry.rss_bytes > 0);
			assert_non_null(strstr(entry.path, "test_smaps"));
		}
	}
	assert_int_equal(got, 0);
	assert_int_equal(found, 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_all_fields),
	    cmocka_unit_test(unescapes_newlines),
	    cmocka_unit_test(a_path_cannot_pose_as_a_count),
	    cmocka_unit_test(refuses_nonsense),
	    cmocka_unit_test(survives_long_lines),
	    cmocka_unit_test(survives_truncation),
	    cmocka_unit_test(reads_its_own_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
