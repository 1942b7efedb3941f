/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "remap/page_cache.h"
#include "remap/page_cache_blocks.h"

#define SLOT host_pages()->huge_bytes

static struct slot list[PAGE_CACHE_SLOTS_MAX];

static void test_slots_of_ranges(void **state)
{
	(void)state;
	const struct file_range ranges[] = {{SLOT, 2 * SLOT}, {0, 0}, {8 * SLOT, SLOT}};
	struct error err = {0};
	assert_int_equal(slots_of_ranges(ranges, 3, 9 * SLOT, SLOT, list, &err), 3);
	assert_int_equal(list[0].file_off, SLOT);
	assert_int_equal(list[1].file_off, 2 * SLOT);
	assert_int_equal(list[2].file_off, 8 * SLOT);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(list[i].state, SLOT_SMALL);
	assert_false(error_is_set(&err));
}

static void test_slots_that_the_file_ends_in(void **state)
{
	(void)state;
	const struct file_range range = {SLOT, 4 * SLOT};
	assert_int_equal(slots_of_ranges(&range, 1, 3 * SLOT + SLOT - 1, SLOT, list, NULL), 4);
	assert_int_equal(list[0].state, SLOT_SMALL);
	assert_int_equal(list[1].state, SLOT_SMALL);
	assert_int_equal(list[2].state, SLOT_SHORT);
	assert_int_equal(list[3].state, SLOT_SHORT);
	assert_int_equal(slots_of_ranges(&range, 1, 3 * SLOT + SLOT, SLOT, list, NULL), 4);
	assert_int_equal(list[2].state, SLOT_SMALL);
	assert_int_equal(slots_of_ranges(&range, 1, 0, SLOT, list, NULL), 4);
	assert_int_equal(list[0].state, SLOT_SHORT);
}

static void test_absurd_ranges(void **state)
{
	(void)state;
	const struct file_range unaligned[] = {{4096, SLOT}, {0, SLOT + 1}, {1, 0}};
	struct error err = {0};
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(slots_of_ranges(&unaligned[i], 1, UINT64_MAX, SLOT, list, &err), -1);
	assert_string_equal(reason_word(err.code), "file-unsupported");
	const struct file_range most[] = {{0, (PAGE_CACHE_SLOTS_MAX - 1) * SLOT}, {0, SLOT}, {0, SLOT}};
	assert_int_equal(slots_of_ranges(most, 2, UINT64_MAX, SLOT, list, NULL), PAGE_CACHE_SLOTS_MAX);
	assert_int_equal(slots_of_ranges(most, 3, UINT64_MAX, SLOT, list, NULL), -1);
	const struct file_range endless = {0, UINT64_MAX / SLOT * SLOT};
	assert_int_equal(slots_of_ranges(&endless, 1, UINT64_MAX, SLOT, list, NULL), -1);
	/* Offset and length together beyond what 64 bits hold. */
	const struct file_range around = {UINT64_MAX / SLOT * SLOT, 2 * SLOT};
	assert_int_equal(slots_of_ranges(&around, 1, 16 * SLOT, SLOT, list, NULL), 2);
	assert_int_equal(list[0].state, SLOT_SHORT);
	assert_int_equal(list[1].state, SLOT_SHORT);
}

static void test_what_is_no_file(void **state)
{
	(void)state;
	const struct file_range range = {0, SLOT};
	uint64_t huge_bytes = 1;
	struct error err = {0};
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(page_cache_make_huge(fds[0], &range, 1, 1000, &huge_bytes, &err), -1);
	assert_string_equal(reason_word(err.code), "file-unsupported");
	assert_int_equal(huge_bytes, 0);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(page_cache_make_huge(-1, &range, 1, 1000, &huge_bytes, &err), -1);
}

/* A memory file: its slots become huge by MADV_COLLAPSE where at all, and it cannot be slow. */
static void test_memory_file(void **state)
{
	(void)state;
	const struct file_range ranges[] = {{0, 2 * SLOT}, {3 * SLOT, SLOT}};
	struct error err = {0};
	uint64_t huge_bytes = 1;
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 3 * (off_t)SLOT + 5), 0);
	for (uint64_t at = 0; at < 3 * SLOT; at += 4096)
		assert_int_equal(pwrite(fd, &at, sizeof at, (off_t)at), sizeof at);
	assert_int_equal(page_cache_make_huge(fd, ranges, 0, 1000, &huge_bytes, &err), -1);
	assert_int_equal(huge_bytes, 0);
	assert_int_equal(page_cache_make_huge(fd, ranges, 2, 5000, &huge_bytes, &err), 0);
	assert_true(error_is_set(&err));
	if (huge_bytes > 0) {
		assert_int_equal(huge_bytes, 2 * SLOT);
		assert_string_equal(reason_word(err.code), "file-short");
	}
	for (uint64_t at = 0, found; at < 3 * SLOT; at += 4096) {
		assert_int_equal(pread(fd, &found, sizeof found, (off_t)at), sizeof found);
		assert_int_equal(found, at);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_slots_of_ranges), cmocka_unit_test(test_slots_that_the_file_ends_in),
	    cmocka_unit_test(test_absurd_ranges),   cmocka_unit_test(test_what_is_no_file),
	    cmocka_unit_test(test_memory_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
