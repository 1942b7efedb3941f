/* SPDX-License-Identifier: Apache-2.0 */
/* The length of an auxiliary vector, which comes from a process that may hold anything there. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptrace/auxv.h"

static void test_ends_with_its_null(void **state)
{
	(void)state;
	const uint64_t words[] = {AT_PHDR, 0x400040, AT_ENTRY, AT_NULL, AT_NULL, 0, AT_BASE, 7};
	assert_int_equal(auxv_word_count(words, 8), 6); /* the NULL of a value is none of a type */
	assert_int_equal(auxv_word_count(words, 6), 6);
	assert_int_equal(auxv_word_count(words + 4, 4), 2);
}

static void test_without_an_end(void **state)
{
	(void)state;
	const uint64_t words[] = {AT_PHDR, 0x400040, AT_ENTRY, 0x401000, AT_NULL, 0};
	assert_int_equal(auxv_word_count(words, 0), 0);
	assert_int_equal(auxv_word_count(words, 1), 0);
	assert_int_equal(auxv_word_count(words, 4), 0);
	assert_int_equal(auxv_word_count(words, 5), 0); /* half of the last pair */
}

static void test_longer_than_there_is_room(void **state)
{
	(void)state;
	uint64_t words[AUXV_WORDS_MAX + 2];
	for (unsigned i = 0; i < AUXV_WORDS_MAX + 2; i++)
		words[i] = AT_IGNORE;
	words[AUXV_WORDS_MAX] = AT_NULL;
	assert_int_equal(auxv_word_count(words, AUXV_WORDS_MAX + 2), 0);
	words[AUXV_WORDS_MAX - 2] = AT_NULL;
	assert_int_equal(auxv_word_count(words, AUXV_WORDS_MAX + 2), AUXV_WORDS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ends_with_its_null),
	    cmocka_unit_test(test_without_an_end),
	    cmocka_unit_test(test_longer_than_there_is_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
