/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_page_scan - what one call tells of many pages is what smaps and pagemap say of them.
 */
#include "mm/page_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/smaps.h"

#define SLOTS 40 /* every other of them: more pieces than are told at once */

static int pagemap_fd;

static int set_up(void **state)
{
	(void)state;
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return pagemap_fd < 0;
}

static void skip_if_not_told(void)
{
	if (page_scan_huge_bytes(pagemap_fd, 0, host_pages()->base_bytes) < 0 && errno == ENOTTY)
		skip(); /* before Linux 6.7 */
}

static uint64_t huge_bytes_by_smaps(uint64_t start, uint64_t end)
{
	char *text = NULL;
	uint64_t bytes = 0;
	struct smaps_entry entry;
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/smaps", 16 * MIB, &text, NULL), 0);
	struct smaps_cursor cursor = smaps_cursor(text);
	while (smaps_next(&cursor, &entry) == 1) {
		if (entry.start >= start && entry.end <= end)
			bytes += entry.anon_huge_bytes;
	}
	free(text);
	return bytes;
}

static void test_huge_pages(void **state)
{
	(void)state;
	skip_if_not_told();
	uint64_t huge_bytes = host_pages()->huge_bytes, bytes = (SLOTS + 1) * huge_bytes;
	char *reserve = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(reserve, MAP_FAILED);
	char *at = reserve + (huge_bytes - (uintptr_t)reserve % huge_bytes) % huge_bytes;
	uint64_t start = (uintptr_t)at, end = start + SLOTS * huge_bytes;
	/* Mappings of their own, which smaps tells apart from what lies beside them. */
	munmap(reserve, start - (uintptr_t)reserve);
	munmap(at + SLOTS * huge_bytes, bytes - (end - (uintptr_t)reserve));
	assert_int_equal(page_scan_huge_bytes(pagemap_fd, start, end), 0);
	bool wants_huge = madvise(at, SLOTS * huge_bytes, MADV_HUGEPAGE) == 0;
	for (unsigned i = 0; i < SLOTS; i += 2)
		at[i * huge_bytes] = 1;
	uint64_t seen_bytes = huge_bytes_by_smaps(start, end);
	assert_int_equal(page_scan_huge_bytes(pagemap_fd, start, end), seen_bytes);
	/* A part of the range, and small pages beside huge ones. */
	assert_int_equal(page_scan_huge_bytes(pagemap_fd, start, start + huge_bytes),
	                 page_scan_huge_bytes(pagemap_fd, start, start + 2 * huge_bytes));
	if (wants_huge && seen_bytes == 0)
		print_message("no huge pages here: only 0 was compared\n");
	munmap(at, SLOTS * huge_bytes);
}

static void test_private_pages(void **state)
{
	(void)state;
	skip_if_not_told();
	uint64_t page_bytes = host_pages()->base_bytes;
	char *at = mmap(NULL, 4 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, open("/proc/self/exe", O_RDONLY), 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	uint64_t start = (uintptr_t)at;
	assert_int_equal(page_scan_private(pagemap_fd, start, start + 4 * page_bytes), 0);
	for (unsigned i = 0; i < 4; i++)
		(void)*(volatile char *)(at + i * page_bytes);
	assert_int_equal(page_scan_private(pagemap_fd, start, start + 4 * page_bytes), 0);
	*(volatile char *)(at + 2 * page_bytes) = 1;
	assert_int_equal(page_scan_private(pagemap_fd, start, start + 2 * page_bytes), 0);
	assert_int_equal(page_scan_private(pagemap_fd, start + 2 * page_bytes, start + 3 * page_bytes), 1);
	assert_int_equal(page_scan_private(pagemap_fd, start, start + 4 * page_bytes), 1);
	munmap(at, 4 * page_bytes);
}

static void test_what_is_no_pagemap(void **state)
{
	(void)state;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(page_scan_huge_bytes(fd, 0, host_pages()->base_bytes), -1);
	assert_int_equal(page_scan_private(fd, 0, host_pages()->base_bytes), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_huge_pages),
	    cmocka_unit_test(test_private_pages),
	    cmocka_unit_test(test_what_is_no_pagemap),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
