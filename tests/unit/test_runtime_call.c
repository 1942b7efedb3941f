/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../oci-hook/runtime_call.h"

#define WORDS_MAX 16

static struct runtime_call parse(const char *const *words)
{
	static char *argv[WORDS_MAX];
	struct runtime_call call;
	int argc = 0;
	for (; words[argc]; argc++)
		argv[argc] = (char *)words[argc];
	argv[argc] = NULL;
	runtime_call_parse(&argc, argv, &call);
	return call;
}

#define PARSE(...) parse((const char *const[]){"runtime", __VA_ARGS__, NULL})

static void bundle(void **state)
{
	(void)state;
	assert_string_equal(PARSE("create", "id").bundle, ".");
	assert_string_equal(PARSE("create", "--bundle", "/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "--bundle=/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "-b", "/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "-b=/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "-b/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "-bundle", "/b", "id").bundle, "/b");
	assert_string_equal(PARSE("run", "--pid-file", "--bundle", "-b", "/b", "id").bundle, "/b");
	assert_string_equal(PARSE("run", "--console-socket=/s", "--no-pivot", "--bundle", "/b", "id").bundle, "/b");
	assert_string_equal(PARSE("create", "--", "-b", "/b").bundle, ".");
	assert_string_equal(PARSE("create", "id", "--bundle").bundle, ".");
	assert_string_equal(PARSE("create", "id").config, "config.json");
	assert_string_equal(PARSE("create", "-f", "other.json", "id").config, "other.json");
}

static void verb(void **state)
{
	(void)state;
	assert_true(PARSE("create", "id").creates);
	assert_true(PARSE("run", "id").creates);
	assert_false(PARSE("start", "id").creates);
	assert_false(PARSE("state", "create").creates);
	assert_false(PARSE("--version").creates);
	assert_false(PARSE("--root", "create").creates);
	assert_false(PARSE("--root").creates);
	assert_true(PARSE("--root", "create", "create", "id").creates);
	assert_true(PARSE("--root=/r", "--debug", "--systemd-cgroup", "create", "id").creates);
	assert_true(PARSE("-log-level", "debug", "--cgroup-manager", "disabled", "run", "id").creates);
	assert_false(PARSE("--something-new", "value", "create", "id").creates);
}

static void log_file(void **state)
{
	(void)state;
	assert_null(PARSE("create", "id").log);
	assert_null(PARSE("--log=", "create", "id").log);
	assert_string_equal(PARSE("--log", "/l", "create", "id").log, "/l");
	assert_false(PARSE("--log", "/l", "create", "id").log_is_json);
	assert_true(PARSE("--log=/l", "--log-format", "json", "create", "id").log_is_json);
	assert_false(PARSE("--log-format=text", "create", "id").log_is_json);
}

static void runtime_is_taken_out(void **state)
{
	(void)state;
	const char *words[] = {"x",           "--root", "/r",        "--runtime", "/bin/crun",
	                       "--runtime=y", "create", "--runtime", "id",        NULL};
	char *argv[10];
	memcpy(argv, words, sizeof words);
	int argc = 9;
	struct runtime_call call;
	runtime_call_parse(&argc, argv, &call);
	assert_string_equal(call.runtime, "y");
	assert_int_equal(argc, 6);
	static const char *const left[] = {"x", "--root", "/r", "create", "--runtime", "id"};
	for (int i = 0; i < 6; i++)
		assert_string_equal(argv[i], left[i]);
	assert_null(argv[6]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bundle),
	    cmocka_unit_test(verb),
	    cmocka_unit_test(log_file),
	    cmocka_unit_test(runtime_is_taken_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
