/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First lines of scripts, as the kernel reads them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/shebang.h"

static void reads_two_words(void **state)
{
	(void)state;
	static const struct {
		const char *head, *interpreter, *argument;
	} cases[] = {
	    {"#!/bin/sh\n", "/bin/sh", ""},
	    {"#!/bin/sh -e\necho", "/bin/sh", "-e"},
	    {"#! \t/usr/bin/env  python3 -u\n", "/usr/bin/env", "python3"},
	    {"#!/bin/sh", "/bin/sh", ""},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct shebang line;
		assert_true(shebang_parse(cases[i].head, &line));
		assert_string_equal(line.interpreter, cases[i].interpreter);
		assert_string_equal(line.argument, cases[i].argument);
	}
}

static void names_no_interpreter(void **state)
{
	(void)state;
	static const char *const heads[] = {"", "#", "#!", "#! \n/bin/sh\n", " #!/bin/sh\n", "/bin/sh\n"};
	for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
		struct shebang line;
		assert_false(shebang_parse(heads[i], &line));
		assert_string_equal(line.interpreter, "");
	}
}

static void stays_within_what_the_kernel_looks_at(void **state)
{
	(void)state;
	char head[SHEBANG_BYTES + 1] = "#!";
	struct shebang line;
	memset(head + 2, 'x', sizeof head - 3);
	assert_true(shebang_parse(head, &line));
	assert_int_equal(strlen(line.interpreter), SHEBANG_BYTES - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_two_words),
	    cmocka_unit_test(names_no_interpreter),
	    cmocka_unit_test(stays_within_what_the_kernel_looks_at),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
