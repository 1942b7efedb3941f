/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of /proc, among them such as no kernel writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/proc.h"

#define STATUS                                                                                             \
	"Name:\ta) R 1 Seccomp:\t9\\nSeccomp:\t8\nUmask:\t0022\nState:\tS (sleeping)\nNSpid:\t70\t5\t1\n"  \
	"Groups:\t\nCapEff:\t000001ffffffffff\nSeccomp_filters:\t3\nSeccomp:\t2\nEmpty:\n7\nSigned:\t-1\n" \
	"Large:\t18446744073709551616\nLargest:\t18446744073709551615\nMemAvailable:   12 kB\nLast:\t4"

#define UNTOUCHED UINT64_C(77)

static void check_number(const char *key, int base, uint64_t expected)
{
	uint64_t number = UNTOUCHED;
	assert_int_equal(proc_u64(STATUS, key, base, &number), expected == UNTOUCHED ? -1 : 0);
	assert_int_equal(number, expected);
}

static void test_values(void **state)
{
	(void)state;
	assert_memory_equal(proc_value(STATUS, "Name"), "a) R", 4);
	assert_memory_equal(proc_value(STATUS, "State"), "S (", 3);
	assert_memory_equal(proc_value(STATUS, "Groups"), "\nCap", 4);
	assert_memory_equal(proc_value("\n\nState:\tR", "State"), "R", 2);
	assert_memory_equal(proc_value("State:", "State"), "", 1);
}

static void test_missing_keys(void **state)
{
	(void)state;
	assert_null(proc_value(STATUS, "TracerPid"));
	assert_null(proc_value(STATUS, "Stat")); /* the start of a key */
	assert_null(proc_value(STATUS, "tate")); /* its end */
	assert_null(proc_value("", "State"));
	assert_null(proc_value("State", "State"));
	assert_null(proc_value("\n", "State"));
	assert_null(proc_value(NULL, "State"));
	check_number("TracerPid", 10, UNTOUCHED);
}

static void test_numbers(void **state)
{
	(void)state;
	check_number("Seccomp", 10, 2); /* not what stands in the name, and not Seccomp_filters */
	check_number("Seccomp_filters", 10, 3);
	check_number("CapEff", 16, UINT64_C(0x1ffffffffff));
	check_number("MemAvailable", 10, 12);
	check_number("Largest", 10, UINT64_MAX);
	check_number("Last", 10, 4);
	check_number("NSpid", 10, 70);
}

static void test_no_numbers(void **state)
{
	(void)state;
	check_number("Empty", 10, UNTOUCHED); /* the 7 is the next line's */
	check_number("Groups", 10, UNTOUCHED);
	check_number("Groups", 16, UNTOUCHED); /* nor the C of CapEff */
	check_number("Signed", 10, UNTOUCHED);
	check_number("Large", 10, UNTOUCHED);
	check_number("State", 10, UNTOUCHED);
}

static void test_last_numbers(void **state)
{
	(void)state;
	uint64_t number = UNTOUCHED;
	assert_int_equal(proc_last_u64(STATUS, "Empty", &number), -1);
	assert_int_equal(proc_last_u64(STATUS, "Groups", &number), -1);
	assert_int_equal(proc_last_u64(STATUS, "State", &number), -1);
	assert_int_equal(proc_last_u64(STATUS, "NStgid", &number), -1);
	assert_int_equal(proc_last_u64(NULL, "NSpid", &number), -1);
	assert_int_equal(number, UNTOUCHED);
	assert_int_equal(proc_last_u64(STATUS, "NSpid", &number), 0);
	assert_int_equal(number, 1);
	assert_int_equal(proc_last_u64(STATUS, "Last", &number), 0);
	assert_int_equal(number, 4);
}

static void test_own_status(void **state)
{
	(void)state;
	char *own = proc_own_status(), *by_pid = proc_status(getpid());
	uint64_t number = 0;
	assert_int_equal(proc_u64(own, "Pid", 10, &number), 0);
	assert_int_equal(number, getpid());
	assert_int_equal(proc_u64(by_pid, "PPid", 10, &number), 0);
	assert_int_equal(number, getppid());
	free(own);
	free(by_pid);
	assert_null(proc_status(-1));
	assert_null(proc_status(0)); /* no process, and not us */
}

static void test_states(void **state)
{
	(void)state;
	assert_int_equal(proc_stat_state("7 (sh) S 1 2"), 'S');
	assert_int_equal(proc_stat_state("7 () Z"), 'Z');
	assert_int_equal(proc_stat_state("7 (a) R 1\n8 (b) X (c) Z 1"), 'Z'); /* one name, with a newline */
	assert_int_equal(proc_stat_state("7 (:-)) T 1"), 'T');
	static const char *const none[] = {"", "7 (sh", "7 (sh)", "7 (sh) ", "7 (sh)S 1", "7 sh S 1", ")"};
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		assert_int_equal(proc_stat_state(none[i]), '\0');
	assert_int_equal(proc_stat_state(NULL), '\0');
}

static void test_stat_fields(void **state)
{
	(void)state;
	char text[1024] = "7 (a) Z 1 2\n3 ) 4) S";
	uint64_t fields[STAT_FIELDS];
	for (unsigned i = 4; i < STAT_FIELDS; i++) {
		assert_int_equal(proc_stat_parse(text, fields), -1);
		size_t length = strlen(text);
		snprintf(text + length, sizeof text - length, " %u", 1000 + i);
	}
	assert_int_equal(proc_stat_parse(text, fields), 0);
	for (unsigned i = 4; i < STAT_FIELDS; i++)
		assert_int_equal(fields[i], 1000 + i);
	static const char *const none[] = {"", "7 (sh", "7 (sh)", "7 (sh) ", "7 (sh) S", "7 (sh) SS 1", "7 (sh) S x"};
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		assert_int_equal(proc_stat_parse(none[i], fields), -1);
	assert_int_equal(proc_stat_parse(NULL, fields), -1);
}

static void test_own_stat(void **state)
{
	(void)state;
	char *stat = proc_stat(getpid());
	uint64_t fields[STAT_FIELDS];
	assert_int_equal(proc_stat_state(stat), 'R');
	assert_int_equal(proc_stat_parse(stat, fields), 0);
	assert_int_equal(fields[4], getppid());
	assert_true(fields[STAT_START_STACK] > (uintptr_t)fields && fields[STAT_ENV_END] > fields[STAT_ARG_START]);
	free(stat);
	assert_null(proc_stat(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),     cmocka_unit_test(test_missing_keys), cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_no_numbers), cmocka_unit_test(test_last_numbers), cmocka_unit_test(test_own_status),
	    cmocka_unit_test(test_states),     cmocka_unit_test(test_stat_fields),  cmocka_unit_test(test_own_stat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
