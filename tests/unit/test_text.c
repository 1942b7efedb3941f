/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void assert_utf8(const char *text, const char *expected)
{
	char *utf8 = text_to_utf8(text);
	assert_non_null(utf8);
	assert_string_equal(utf8, expected);
	free(utf8);
}

#define BAD "\xef\xbf\xbd"

static void utf8_keeps_what_is_valid(void **state)
{
	(void)state;
	assert_utf8("", "");
	assert_utf8("/usr/bin/gr\xc3\xbc\xc3\x9f", "/usr/bin/gr\xc3\xbc\xc3\x9f");
	assert_utf8("\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80");
	assert_utf8("a\nb\x7f", "a\nb\x7f");
}

static void utf8_replaces_what_is_not(void **state)
{
	(void)state;
	assert_utf8("a\xff"
	            "b",
	            "a" BAD "b");
	assert_utf8("\x80", BAD);
	assert_utf8("\xc3", BAD);                                 /* cut short */
	assert_utf8("\xe2\x82", BAD BAD);                         /* cut short */
	assert_utf8("\xc0\xaf", BAD BAD);                         /* overlong '/' */
	assert_utf8("\xe0\x80\xaf", BAD BAD BAD);                 /* overlong */
	assert_utf8("\xed\xa0\x80", BAD BAD BAD);                 /* a surrogate */
	assert_utf8("\xf4\x90\x80\x80", BAD BAD BAD BAD);         /* above U+10FFFF */
	assert_utf8("\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD); /* five bytes */
	assert_utf8("\xc3(", BAD "(");
}

static void printable_hides_control_characters(void **state)
{
	(void)state;
	char buf[64];
	assert_string_equal(text_printable("/a\033[2J\n\tb", buf, sizeof buf), "/a?[2J??b");
	assert_string_equal(text_printable("\xc2\x9b"
	                                   "31m",
	                                   buf, sizeof buf),
	                    "?31m"); /* C1's own CSI */
	assert_string_equal(text_printable("\xff\xc3\xbc", buf, sizeof buf), "?\xc3\xbc");
}

static void printable_stays_in_its_buffer(void **state)
{
	(void)state;
	char buf[6] = "xxxxx";
	assert_string_equal(text_printable("abcdefgh", buf, 4), "abc");
	assert_int_equal(buf[4], 'x');
	/* A character that does not fit whole is left out. */
	assert_string_equal(text_printable("ab\xe2\x82\xac", buf, 5), "ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(utf8_keeps_what_is_valid),
	    cmocka_unit_test(utf8_replaces_what_is_not),
	    cmocka_unit_test(printable_hides_control_characters),
	    cmocka_unit_test(printable_stays_in_its_buffer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
