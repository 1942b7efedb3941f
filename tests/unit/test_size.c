/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes as people write and read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/size.h"

static void parses(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"64k", 64 << 10},
	    {"64K", 64 << 10},
	    {"2M", 2 << 20},
	    {"2m", 2 << 20},
	    {"1G", 1 << 30},
	    {"3T", UINT64_C(3) << 40},
	    {"007", 7},
	    {"18446744073709551615", UINT64_MAX},
	    {"16777215T", UINT64_C(16777215) << 40},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t bytes = 1;
		if (size_parse(cases[i].text, &bytes) < 0 || bytes != cases[i].bytes)
			fail_msg("%s", cases[i].text);
	}
}

static void refuses(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",
	                                    " ",
	                                    "-1",
	                                    "+1",
	                                    " 1",
	                                    "1 ",
	                                    "M",
	                                    "1MM",
	                                    "1MB",
	                                    "1KiB",
	                                    "1.5M",
	                                    "0x10",
	                                    "1e3",
	                                    "2P",
	                                    "16777216T",
	                                    "18446744073709551616",
	                                    "99999999999999999999999G"};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		uint64_t bytes = 42;
		if (size_parse(wrong[i], &bytes) == 0 || bytes != 42)
			fail_msg("'%s'", wrong[i]);
	}
}

static void formats(void **state)
{
	(void)state;
	char buf[16];
	assert_string_equal(size_format(0, buf, sizeof buf), "0 B");
	assert_string_equal(size_format(1023, buf, sizeof buf), "1023 B");
	assert_string_equal(size_format(512 * KIB, buf, sizeof buf), "512 KiB");
	assert_string_equal(size_format(21 * MIB, buf, sizeof buf), "21.0 MiB");
	assert_string_equal(size_format(3 * GIB / 2, buf, sizeof buf), "1.5 GiB");
	assert_string_equal(size_format(UINT64_MAX, buf, sizeof buf), "17179869184.0 G"); /* cut, never overrun */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(parses), cmocka_unit_test(refuses),
	                                   cmocka_unit_test(formats)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
