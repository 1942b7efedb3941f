/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ExecStart= with hugexec before it: as it stands in unit files, and as systemd tells it.
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
#include "ctl/exec_rewrite.h"

#define WORDS(...) ((const char *[]){__VA_ARGS__, NULL})

/* VALUE rewritten, in a fresh string; NULL: it is refused. */
static char *rewritten(const char *value, struct exec_rewrite *rewrite)
{
	char *text = NULL;
	size_t bytes;
	struct error err = {0};
	*rewrite = (struct exec_rewrite){.launcher = "/l", .hugexec = "/usr/bin/hugexec"};
	FILE *stream = open_memstream(&text, &bytes);
	assert_non_null(stream);
	int result = exec_rewrite(rewrite, stream, value, &err);
	fclose(stream);
	if (result == 0)
		return text;
	assert_int_equal(err.code, REASON_UNIT_UNFIT);
	free(text);
	return NULL;
}

static void assert_rewritten(const char *value, const char *expected)
{
	struct exec_rewrite rewrite;
	char *text = rewritten(value, &rewrite);
	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
}

static void words_stay_as_written(void **state)
{
	(void)state;
	assert_rewritten("/bin/a", "ExecStart=/l -- /bin/a\n");
	assert_rewritten("  /bin/a   x\t%i  %v $A ${B}x $$ ", "ExecStart=/l -- /bin/a x %i %v $A ${B}x $$\n");
	assert_rewritten("/bin/a \"x  y\" 'q \"z' \\x41 a\\ b \"\" \\\" x\"y z\"",
	                 "ExecStart=/l -- /bin/a \"x  y\" 'q \"z' \\x41 a\\ b \"\" \\\" x\"y z\"\n");
	assert_rewritten("\"/bin/my a\" x", "ExecStart=/l -- \"/bin/my a\" x\n");
	assert_rewritten("foo %h", "ExecStart=/l -- foo %h\n");
}

static void commands_are_split(void **state)
{
	(void)state;
	assert_rewritten("/bin/a x ; -/bin/b \\; ; ", "ExecStart=/l -- /bin/a x\nExecStart=-/l -- /bin/b \\;\n");
	assert_rewritten("/bin/a ';' x; y", "ExecStart=/l -- /bin/a ';' x; y\n");
}

static void prefixes_stay_and_names_are_passed(void **state)
{
	(void)state;
	assert_rewritten("-:+/bin/a x", "ExecStart=-:+/l -- /bin/a x\n");
	assert_rewritten("!!/bin/a", "ExecStart=!!/l -- /bin/a\n");
	assert_rewritten("-@/bin/a -a b", "ExecStart=-/l --argv0=-a -- /bin/a b\n");
	assert_rewritten("@-/bin/a \"two words\" b", "ExecStart=-/l --argv0=\"two words\" -- /bin/a b\n");
}

static void doubts_are_refused(void **state)
{
	(void)state;
	static const char *const values[] = {
	    "/usr/bin/hugexec /bin/a",
	    "/l -- /bin/a",
	    "hugexec /bin/a",
	    "|/bin/a",
	    "\"-/bin/a\"",
	    "/bin/$a",
	    "@/bin/a",
	    "@/bin/a $N",
	    "@/bin/a ; x",
	    "; /bin/a",
	    "/bin/a \"x",
	    "/bin/a x\\",
	    "-",
	    "$A",
	    "\"/usr/bin/hugexec\" x",
	    "/bin/a ; $A x",
	};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		struct exec_rewrite rewrite;
		char *text = rewritten(values[i], &rewrite);
		if (text)
			fail_msg("taken: %s -> %s", values[i], text);
	}
}

static void the_program_is_told(void **state)
{
	(void)state;
	struct exec_rewrite rewrite;
	free(rewritten("'/usr/bin/a' ; -/bin/a x", &rewrite));
	assert_string_equal(rewrite.program, "/usr/bin/a");
	assert_false(rewrite.is_mixed);
	free(rewritten("/bin/a ; /bin/b", &rewrite));
	assert_true(rewrite.is_mixed);
	free(rewritten("\"/bin/my a\"", &rewrite));
	assert_string_equal(rewrite.program, "");
}

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
	    cmocka_unit_test(words_stay_as_written),
	    cmocka_unit_test(commands_are_split),
	    cmocka_unit_test(prefixes_stay_and_names_are_passed),
	    cmocka_unit_test(doubts_are_refused),
	    cmocka_unit_test(the_program_is_told),
	    cmocka_unit_test(systemd_is_to_read_this),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
