/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines of units with hugexec before them, and how they are written.
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

/* The line for one command of PATH and WORDS, in a fresh string. */
static char *line_of(const char *path, const char **words, unsigned flags, bool template)
{
	struct exec_command command = {
	    .path = (char *)(uintptr_t)path, .argv = (char **)(uintptr_t)words, .flags = flags};
	struct exec_commands from = {.list = &command, .count = 1}, to;
	char *text = NULL;
	size_t bytes;
	assert_int_equal(exec_commands_prefix(&from, "/usr/bin/hugexec", &to, NULL), 0);
	FILE *stream = open_memstream(&text, &bytes);
	assert_non_null(stream);
	exec_line_print(stream, &to.list[0], template);
	fclose(stream);
	exec_commands_free(&to);
	return text;
}

static void assert_line(const char *path, const char **words, unsigned flags, bool template, const char *expected)
{
	char *line = line_of(path, words, flags, template);
	assert_string_equal(line, expected);
	free(line);
}

static void is_escaped(void **state)
{
	(void)state;
	assert_line("/bin/a", WORDS("/bin/a", "x", "-y=1"), 0, false, "ExecStart=/usr/bin/hugexec -- /bin/a x -y=1\n");
	assert_line("/bin/a", WORDS("/bin/a", "", "two words", "\"'\\"), 0, false,
	            "ExecStart=/usr/bin/hugexec -- /bin/a \"\" \"two words\" \"\\\"'\\\\\"\n");
	assert_line("/bin/a", WORDS("/bin/a", "%i", "100%", "\n\t\x7f", ";", "\xc3\xa9"), 0, false,
	            "ExecStart=/usr/bin/hugexec -- /bin/a %%i 100%% \"\\x0a\\x09\\x7f\" \";\" \"\xc3\xa9\"\n");
}

static void keeps_variables(void **state)
{
	(void)state;
	assert_line("/bin/$a", WORDS("/bin/$a", "$ARGS", "${A}x", "$$b"), 0, false,
	            "ExecStart=/usr/bin/hugexec -- /bin/$$a $ARGS ${A}x $$b\n");
	assert_line("/bin/$a", WORDS("/bin/$a", "$ARGS"), EXEC_NO_ENV_EXPAND, false,
	            "ExecStart=:/usr/bin/hugexec -- /bin/$a $ARGS\n");
}

static void has_prefixes_and_names(void **state)
{
	(void)state;
	assert_line("/bin/a", WORDS("-a"), EXEC_IGNORE_FAILURE | EXEC_PRIVILEGED, false,
	            "ExecStart=-+/usr/bin/hugexec --argv0=-a -- /bin/a\n");
	assert_line("/bin/a", WORDS(""), EXEC_AMBIENT, false, "ExecStart=!!/usr/bin/hugexec --argv0= -- /bin/a\n");
	assert_line("/bin/a", WORDS("${N} b", "c"), EXEC_NO_SETUID, false,
	            "ExecStart=!/usr/bin/hugexec \"--argv0=${N} b\" -- /bin/a c\n");
}

static void knows_templates(void **state)
{
	(void)state;
	assert_line("/bin/a", WORDS("/bin/a", "x@" EXEC_TEMPLATE_INSTANCE ".service", "/hugexec-template%", "hugexec"),
	            0, true, "ExecStart=/usr/bin/hugexec -- /bin/a \"x@%i.service\" /%I%% hugexec\n");
	assert_line("/bin/a", WORDS("/bin/a", "hugexec-template"), 0, false,
	            "ExecStart=/usr/bin/hugexec -- /bin/a hugexec-template\n");
}

static void refuses(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		const char *words[3];
		unsigned flags;
		int result;
	} cases[] = {
	    {"/usr/bin/hugexec", {"/usr/bin/hugexec", "a"}, 0, -1},
	    {"/bin/a", {NULL}, 0, -1},
	    {"/bin/a", {"$NAME"}, 0, -1},
	    {"/bin/a", {"$NAME"}, EXEC_NO_ENV_EXPAND, 0},
	    {"/bin/a", {"$$NAME"}, 0, 0},
	    {"/bin/a", {"${NAME}"}, 0, 0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct exec_command command = {.path = (char *)(uintptr_t)cases[i].path,
		                               .argv = (char **)(uintptr_t)cases[i].words,
		                               .flags = cases[i].flags};
		struct exec_commands from = {.list = &command, .count = 1}, to;
		struct error err = {0};
		assert_int_equal(exec_commands_prefix(&from, "/usr/bin/hugexec", &to, &err), cases[i].result);
		if (cases[i].result < 0)
			assert_string_equal(reason_word(err.code), "unit-unfit");
		exec_commands_free(&to);
	}
	struct exec_commands none = {.count = 0}, to;
	assert_int_equal(exec_commands_prefix(&none, "/usr/bin/hugexec", &to, NULL), -1);
}

static void finds_fleeting_specifiers(void **state)
{
	(void)state;
	assert_int_equal(exec_fleeting_specifier("[Service]\nExecStart=/bin/a %i %%v\n"), 0);
	assert_int_equal(exec_fleeting_specifier("ExecStart=/bin/a %v\n"), 'v');
	assert_int_equal(exec_fleeting_specifier(" ExecStart = -/bin/a \\\n  # %b\n  x%H"), 'H');
	assert_int_equal(exec_fleeting_specifier("ExecReload=/bin/a %b\nDescription=%v \\\nExecStart=%v"), 'v');
	assert_int_equal(exec_fleeting_specifier("#ExecStart=%b\nExecStart=a\\\nb\nc %b\nExecStart=%"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(is_escaped),
	    cmocka_unit_test(keeps_variables),
	    cmocka_unit_test(has_prefixes_and_names),
	    cmocka_unit_test(knows_templates),
	    cmocka_unit_test(refuses),
	    cmocka_unit_test(finds_fleeting_specifiers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
