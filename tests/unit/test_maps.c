/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of mappings of a process that changes them while they are read. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "mm/maps.h"

#define PAGE  4096
#define PAIRS 400 /* of pages; their list takes many reads */

static const uint64_t entry_only[] = {9 /* AT_ENTRY */, 0x401000, 0, 0};

/* The second and third line came with the next read, when the mapping before them had grown. */
static void test_told_again(void **state)
{
	(void)state;
	static const char grown[] = "400000-402000 r-xp 00003000 fe:00 42 /bin/x\n"
	                            "400000-405000 r-xp 00003000 fe:00 42 /bin/x\n"
	                            "404000-409000 rw-p 00000000 00:00 0 \n";
	struct address_space space;
	struct error err = {0};
	assert_int_equal(address_space_parse(grown, entry_only, 4, PAGE, &space, &err), 0);
	assert_int_equal(space.count, 3);
	assert_int_equal(space.mappings[1].start, 0x402000);
	assert_int_equal(space.mappings[1].end, 0x405000);
	assert_int_equal(space.mappings[1].file_off, 0x5000);
	assert_int_equal(space.mappings[2].start, 0x405000);
	assert_int_equal(space.mappings[2].file_off, 0);
	assert_int_equal(address_space_find(&space, 0x402000), 1);
	address_space_free(&space);
}

/* What lies in what was told already is no mapping that has grown. */
static void test_told_out_of_order(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "400000-405000 r-xp 00000000 fe:00 42 /bin/x\n401000-402000 r-xp 00000000 fe:00 42 /bin/x\n",
	    "400000-405000 r-xp 00000000 fe:00 42 /bin/x\n402000-405000 r-xp 00000000 fe:00 42 /bin/x\n",
	    "400000-405000 r-xp 00000000 fe:00 42 /bin/x\n3ff000-400000 r-xp 00000000 fe:00 42 /bin/x\n",
	};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct address_space space;
		struct error err = {0};
		assert_int_equal(address_space_parse(texts[i], entry_only, 4, PAGE, &space, &err), -1);
		assert_string_equal(reason_word(err.code), "image");
	}
}

static char *pages;
static atomic_bool over;

/* The first of each pair of pages grows by the second, and shrinks again. */
static void *grow_and_shrink(void *context)
{
	(void)context;
	for (int prot = PROT_READ; !over; prot ^= PROT_READ)
		for (long i = PAIRS - 1; i >= 0 && !over; i--)
			mprotect(pages + (2 * i + 1) * PAGE, PAGE, prot);
	return NULL;
}

static void test_changes_while_it_is_read(void **state)
{
	(void)state;
	pthread_t thread;
	pages = mmap(NULL, 2 * PAIRS * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(pages != MAP_FAILED);
	for (long i = 0; i < PAIRS; i++)
		mprotect(pages + 2 * i * PAGE, PAGE, PROT_READ);
	assert_int_equal(pthread_create(&thread, NULL, grow_and_shrink, NULL), 0);
	struct error err = {0};
	for (int i = 0; i < 1000; i++) {
		struct address_space space;
		if (address_space_read(getpid(), &space, &err) < 0)
			break;
		assert_true(address_space_find(&space, (uintptr_t)pages) >= 0);
		address_space_free(&space);
	}
	over = true;
	pthread_join(thread, NULL);
	assert_string_equal(err.detail, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_told_again),
	    cmocka_unit_test(test_told_out_of_order),
	    cmocka_unit_test(test_changes_while_it_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
