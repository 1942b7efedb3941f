/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ExecStart= with hugexec before it, as systemd tells it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/exec_line.h"

#define WORDS(...) ((const char *[]){__VA_ARGS__, NULL})

static struct exec_commands one_command(struct exec_command *command, const char *path, const char **words)
{
	*command = (struct exec_command){.path = (char *)(uintptr_t)path, .argv = (char **)(uintptr_t)words};
	return (struct exec_commands){.list = command, .count = 1};
}

static void systemd_is_to_read_this(void **state)
{
	(void)state;
	struct exec_command command, meant;
	struct exec_commands from = one_command(&command, "/bin/a", WORDS("name", "x y")), to;
	struct exec_commands expected = one_command(&meant, "/l", WORDS("/l", "--argv0=name", "--", "/bin/a", "x y"));
	assert_int_equal(exec_commands_prefix(&from, "/l", &to, NULL), 0);
	assert_true(exec_commands_equal(&to, &expected));
	meant.flags = EXEC_PRIVILEGED;
	assert_false(exec_commands_equal(&to, &expected));
	expected = one_command(&meant, "/l", WORDS("/l", "--argv0=name", "--", "/bin/a", "x"));
	assert_false(exec_commands_equal(&to, &expected));
	exec_commands_free(&to);
	struct exec_commands none = {.count = 0};
	assert_int_equal(exec_commands_prefix(&none, "/l", &to, NULL), -1);
	from = one_command(&command, "/l", WORDS("/l", "a"));
	assert_int_equal(exec_commands_prefix(&from, "/l", &to, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(systemd_is_to_read_this),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
