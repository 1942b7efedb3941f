/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one policy text: every setting, every complaint with its line and column, limits, and JSON that is none.
 */
#include "policy_testing.h"

#include <json-c/json.h>

#define RULE(members)  "{\"version\":1,\n\"rules\":[\n {\"match\":{},\n  " members "}]}"
#define MATCH(members) "{\"version\":1,\n\"rules\":[\n {\"match\":{" members "}}]}"

static const struct {
	const char *text, *message; /* MESSAGE begins the detail */
} complained[] = {
    {"", "p.json:1:1: the JSON ends too early"},
    {"{", "p.json:1:2: the JSON ends too early"},
    {"{\"version\": 1,\n}", "p.json:2:1: nothing comes behind the last comma; take it away"},
    {"{\n// text\n\"version\": 1}", "p.json:2:1: JSON has no comments"},
    {"{\"version\":1}\n x", "p.json:2:2: nothing may stand here"},
    {"{\"version\":1}\n{}", "p.json:2:1: nothing may stand here"},
    {"null", "p.json:1:1: expected an object"},
    {"\n 7", "p.json:2:2: expected an object"},
    {"[]", "p.json:1:1: expected an object"},
    {"{}", "p.json:1:1: \"version\": 1 is missing"},
    {"{\"version\":2}", "p.json:1:12: expected 1, the only version there is"},
    {"{\"version\":\"1\"}", "p.json:1:12: expected 1,"},
    {"{\"version\":true}", "p.json:1:12: expected 1,"},
    {"{\"version\":1.5}", "p.json:1:12: expected 1,"},
    {"{\"version\":1,\n \"vershun\":1}", "p.json:2:2: unknown key \"vershun\", did you mean \"version\"?"},
    {"{\"version\":1,\n \"pool\":1}", "p.json:2:2: unknown key \"pool\", expected one of version, default,"},
    {"{\"version\":1,\n \"default\":\"keep\"}", "p.json:2:12: \"keep\" is not one of \"skip\", \"remap\""},
    {"{\"version\":1,\n \"default\":null}", "p.json:2:12: expected one of \"skip\", \"remap\""},
    {"{\"version\":1,\n \"$schema\":1}", "p.json:2:12: expected a string"},
    {"{\"version\":1,\"rules\":{}}", "p.json:1:22: expected a list of rules"},
    {"{\"version\":1,\"rules\":[{\"match\":{}},\n3]}", "p.json:2:1: expected a rule"},
    {"{\"version\":1,\"rules\":[{\"match\":{}},\n {\"name\":\"x\"}]}", "p.json:2:2: a rule needs \"match\""},
    {"{\"version\":1,\"settings\":[]}", "p.json:1:25: expected an object of settings"},
    {"{\"version\":1,\"settings\":{\"name\":\"x\"}}", "p.json:1:26: unknown key \"name\""},
    {RULE("\"min_txt\":1"), "p.json:4:3: unknown key \"min_txt\", did you mean \"min_text\"?"},
    {RULE("\"x\":1"), "p.json:4:3: unknown key \"x\", expected one of name, match, action, min_text"},
    {RULE("\"name\":1"), "p.json:4:10: expected a string"},
    {RULE("\"action\":\"Skip\""), "p.json:4:12: \"Skip\" is not one of"},
    {RULE("\"min_text\":\"2X\""), "p.json:4:14: \"2X\" is not a size; expected a size"},
    {RULE("\"min_text\":-1"), "p.json:4:14: expected a size"},
    {RULE("\"min_text\":1.5"), "p.json:4:14: expected a size"},
    {RULE("\"min_text\":true"), "p.json:4:14: expected a size"},
    {RULE("\"max_text\":\"99999999T\""), "p.json:4:14: \"99999999T\" is not a size"},
    /* json-c 0.17 and later say so themselves, and where it ends. */
    {RULE("\"max_text\":99999999999999999999"), JSON_C_VERSION_NUM < (17 << 8)
                                                    ? "p.json:4:14: expected a size"
                                                    : "p.json:4:34: no number in JSON, or too large a one"},
    {RULE("\"max_text\":1e400"), "p.json:4:14: expected a size"},
    {RULE("\"backing\":\"thp\""), "p.json:4:13: expected a list of \"file\""},
    {RULE("\"backing\":[]"), "p.json:4:13: expected one to three"},
    {RULE("\"backing\":[\"thp\", \"disk\"]"), "p.json:4:21: \"disk\" is not one of"},
    {RULE("\"backing\":[\"thp\", \"thp\"]"), "p.json:4:21: \"thp\" is a duplicate"},
    {RULE("\"page_size\":\"4M\""), "p.json:4:15: \"4M\" is not one of \"2M\", \"1G\""},
    {RULE("\"libraries\":1"), "p.json:4:15: expected true, false or"},
    {RULE("\"libraries\":{\"only\":[]}"), "p.json:4:16: unknown key \"only\", expected one of include, exclude"},
    {RULE("\"libraries\":{\"include\":\"/x\"}"), "p.json:4:26: expected a list of patterns"},
    {RULE("\"libraries\":{\"include\":[\"/x\",\"y\"]}"), "p.json:4:32: paths begin with a slash"},
    {RULE("\"rebase\":\"yes\""), "p.json:4:12: expected true or false"},
    {RULE("\"follow\":\"forks\""), "p.json:4:12: \"forks\" is not one of \"none\", \"exec\", \"fork\""},
    {RULE("\"follow_timeout\":0"), "p.json:4:20: expected a number of seconds from 1 to 86400"},
    {RULE("\"follow_timeout\":86401"), "p.json:4:20: expected a number of seconds"},
    {RULE("\"follow_timeout\":\"30\""), "p.json:4:20: expected a number of seconds"},
    {RULE("\"keep_free\":\"101%\""), "p.json:4:15: expected a number of pages"},
    {RULE("\"keep_free\":\"10\""), "p.json:4:15: expected a number of pages"},
    {RULE("\"keep_free\":-1"), "p.json:4:15: expected a number of pages"},
    {RULE("\"file_timeout\":500"), "p.json:4:18: expected a duration"},
    {RULE("\"file_timeout\":\"0ms\""), "p.json:4:18: expected a duration"},
    {RULE("\"file_timeout\":\"5m\""), "p.json:4:18: expected a duration"},
    {RULE("\"hold_timeout\":2"), "p.json:4:18: expected a duration"},
    {RULE("\"on_error\":\"abort\""), "p.json:4:14: \"abort\" is not one of \"continue\", \"fail\""},
    {MATCH("\"path\":\"/x\""), "p.json:3:12: unknown key \"path\", expected one of exe,"},
    {MATCH("\"exe\":3"), "p.json:3:18: expected a pattern"},
    {MATCH("\"exe\":[]"), "p.json:3:18: an empty list matches nothing"},
    {MATCH("\"exe\":[\"/a\",\"\"]"), "p.json:3:24: an empty pattern"},
    {MATCH("\"exe\":\"bin/x\""), "p.json:3:18: paths begin with a slash: write \"/...\" or \"**/bin/x\""},
    {MATCH("\"exe\":\"/a**\""), "p.json:3:18: ** stands alone between slashes"},
    {MATCH("\"exe\":\"/**a\""), "p.json:3:18: ** stands alone between slashes"},
    {MATCH("\"exe\":\"/***\""), "p.json:3:18: ** stands alone between slashes"},
    {MATCH("\"cgroup\":\"x\""), "p.json:3:21: paths begin with a slash"},
    {MATCH("\"build_id\":\"abc\""), "p.json:3:23: expected the first 4 to 128 hexadecimal digits"},
    {MATCH("\"build_id\":[\"abcd\", \"xyzz\"]"), "p.json:3:32: expected the first 4"},
    {MATCH("\"user\":-1"), "p.json:3:19: expected a user"},
    {MATCH("\"user\":4294967295"), "p.json:3:19: expected a user"},
    {MATCH("\"user\":\"4294967295\""), "p.json:3:19: expected a user"},
    {MATCH("\"user\":[0,\"a b\"]"), "p.json:3:22: expected a user"},
    {MATCH("\"unit\":\"\""), "p.json:3:19: an empty pattern"},
    {MATCH("\"annotation\":\"x\""), "p.json:3:25: expected annotations"},
    {MATCH("\"annotation\":{}"), "p.json:3:25: expected annotations"},
    {MATCH("\"annotation\":{\"a\":\"b\",\"c\":1}"), "p.json:3:38: expected a pattern"},
    {MATCH("\"via\":\"door\""), "p.json:3:18: \"door\" is not one of \"shim\", \"hook\", \"attach\""},
    {MATCH("\"via\":[\"shim\",3]"), "p.json:3:26: expected one of \"shim\""},
    {MATCH("\"v\\u0069b\":1"), "p.json:3:12: unknown key \"vib\", did you mean \"via\"?"},
};

static void complaints(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof complained / sizeof complained[0]; i++) {
		struct policy *policy = NULL;
		struct error err = {0};
		int result = policy_parse(complained[i].text, strlen(complained[i].text), "p.json", &policy, &err);
		if (result == 0 || strcmp(reason_word(err.code), "policy-invalid") != 0 ||
		    strncmp(err.detail, complained[i].message, strlen(complained[i].message)) != 0)
			fail_msg("%s\nsaid:     %s %s\nexpected: %s", complained[i].text, reason_word(err.code),
			         err.detail, complained[i].message);
	}
}

/* What json-c 0.16 takes for JSON, or reads otherwise than others do. */
static void json_that_is_none(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
	    {"{'version':1}", "p.json:1:2: strings stand in double quotes"},
	    {"{\"version\":NaN}", "p.json:1:12: NaN and Infinity are not JSON"},
	    {"{\"version\":-Infinity}", "p.json:1:13: NaN and Infinity are not JSON"},
	    {"{\"version\":1.}", "p.json:1:14: expected a digit"},
	    {"{\"version\":1,\"$schema\":\"a\tb\"}", "p.json:1:26: a control character in a string"},
	    {"{\"version\":1,\"$schema\":\"a\nb\"}", "p.json:1:26: a control character in a string"},
	    {"{\"version\":1,\"$schema\":\"a\\u0000b\"}", "p.json:1:26: a string cannot contain \\u0000"},
	    {"{\"version\\u0000x\":1}", "p.json:1:10: a string cannot contain \\u0000"},
	    {"{\"version\":1,\n\"default\":\"skip\",\n \"default\":\"skip\"}", "p.json:3:2: duplicate key"},
	    {"{\"version\":1,\n\"defaul\\u0074\":\"skip\",\n \"default\":\"skip\"}", "p.json:3:2: duplicate key"},
	    {MATCH("\"annotation\":{\"a\":\"b\",\"a\":\"c\"}"), "p.json:3:34: duplicate key"},
	    {"{\"version\":1, // no\n}", "p.json:1:15: "},
	    {"/* no */{\"version\":1}", "p.json:1:1: "},
	    {"{\"version\":1,}", "p.json:1:14: "},
	    {"{\"version\":01}", "p.json:1:14: no number in JSON"},
	    {"{\"version\":+1}", "p.json:1:12: "},
	    {"{\"version\":0x1}", "p.json:1:13: "},
	    {"{\"version\":1 \"rules\":[]}", "p.json:1:14: "},
	    {"{\"version\" 1}", "p.json:1:12: "},
	    {"{version:1}", "p.json:1:2: "},
	    {"{\"version\":1,\"$schema\":\"\\x\"}", "p.json:1:26: "},
	    {"{\"version\":1,\"$schema\":\"\xff\"}", "p.json:1:25: "},
	    {"\xef\xbb\xbf{\"version\":1}", "p.json:1:1: a byte order mark"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy *policy = NULL;
		struct error err = {0};
		int result = policy_parse(cases[i].text, strlen(cases[i].text), "p.json", &policy, &err);
		if (result == 0 || strcmp(reason_word(err.code), "policy-invalid") != 0 ||
		    strncmp(err.detail, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s\nsaid:     %s %s\nexpected: %s", cases[i].text, reason_word(err.code), err.detail,
			         cases[i].message);
	}
	struct policy *policy = NULL;
	struct error err = {0};
	assert_int_equal(policy_parse("{\"version\"\0:1}", 14, "p.json", &policy, &err), -1);
	assert_string_equal(err.detail, "p.json:1:11: a NUL byte");
}

static void every_setting(void **state)
{
	(void)state;
	struct policy *policy = policy_of(
	    "{\"$schema\":\"x\",\"version\":1.0,\"default\":\"remap\",\"rules\":[{\"match\":{},\"min_text\":\"4M\","
	    "\"max_text\":1e9,\"backing\":[\"thp\",\"file\"],\"page_size\":\"1G\",\"libraries\":{\"include\":[\"/a/"
	    "*\",\"**\"],"
	    "\"exclude\":[\"/"
	    "b\"]},\"rebase\":false,\"round_out\":true,\"coverage\":\"full\",\"rodata\":true,\"follow\":\"fork\","
	    "\"follow_timeout\":"
	    "86400,"
	    "\"keep_free\":\"10%\",\"file_timeout\":\"2s\",\"hold_timeout\":\"3s\",\"perf_map\":true,\"on_error\":"
	    "\"fail\"}]}");
	struct match_input input = {.via = VIA_SHIM};
	struct decision decision;
	policy_decide(policy, &input, &decision);
	const struct settings *settings = &decision.settings;
	assert_int_equal(settings->min_text_bytes, 4 << 20);
	assert_int_equal(settings->max_text_bytes, 1000000000);
	assert_int_equal(settings->backing_count, 2);
	assert_int_equal(settings->backing[0], BACKING_THP);
	assert_int_equal(settings->backing[1], BACKING_FILE);
	assert_int_equal(settings->page_size_bytes, 1 << 30);
	assert_true(settings->libraries);
	assert_string_equal(settings->library_include[0], "/a/*");
	assert_string_equal(settings->library_include[1], "**");
	assert_null(settings->library_include[2]);
	assert_string_equal(settings->library_exclude[0], "/b");
	assert_false(settings->rebase);
	assert_true(settings->round_out);
	assert_int_equal(settings->coverage, COVERAGE_FULL);
	assert_true(settings->rodata);
	assert_int_equal(settings->follow, FOLLOW_FORK);
	assert_int_equal(settings->follow_timeout_s, 86400);
	assert_int_equal(settings->keep_free_percent, 10);
	assert_int_equal(settings->keep_free_pages, 0);
	assert_int_equal(settings->file_timeout_ms, 2000);
	assert_int_equal(settings->hold_timeout_ms, 3000);
	assert_int_equal(settings_hold_ms(settings, 0), 3000);
	assert_int_equal(settings_hold_ms(settings, UINT64_C(101) << 20), 3010);
	assert_true(settings->perf_map);
	assert_int_equal(settings->on_error, ON_ERROR_FAIL);
	policy_free(policy);
}

static void rule_over_settings_over_defaults(void **state)
{
	(void)state;
	struct policy *policy =
	    policy_of("{\"version\":1,\"settings\":{\"keep_free\":\"5%\",\"libraries\":{\"include\":[\"/"
	              "x\"]},\"file_timeout\":\"50ms\"},"
	              "\"rules\":[{\"match\":{\"exe\":\"/a\"},\"keep_free\":7,\"libraries\":true},{\"match\":{}}]}");
	struct match_input a = {.via = VIA_SHIM, .exe = "/a"}, b = {.via = VIA_SHIM, .exe = "/b"};
	struct decision decision;
	policy_decide(policy, &a, &decision);
	assert_int_equal(decision.settings.keep_free_pages, 7);
	assert_int_equal(decision.settings.keep_free_percent, 0);
	assert_true(decision.settings.libraries);
	assert_null(decision.settings.library_include);
	assert_int_equal(decision.settings.file_timeout_ms, 50);
	policy_decide(policy, &b, &decision);
	assert_int_equal(decision.settings.keep_free_percent, 5);
	assert_string_equal(decision.settings.library_include[0], "/x");
	policy_free(policy);

	policy = policy_of("{\"version\":1,\"settings\":{\"keep_free\":3},\"rules\":[{\"match\":{},\"keep_free\":4}]}");
	policy_decide(policy, &a, &decision);
	assert_int_equal(decision.settings.keep_free_pages, 4);
	policy_free(policy);

	struct settings expected;
	settings_default(&expected);
	policy = policy_of("{\"version\":1}");
	policy_decide(policy, &a, &decision);
	assert_int_equal(decision.action, ACTION_SKIP);
	assert_memory_equal(&decision.settings, &expected, sizeof expected);
	policy_free(policy);
	assert_int_equal(expected.min_text_bytes, 2 << 20);
	assert_int_equal(expected.backing_count, 3);
	assert_int_equal(expected.backing[0], BACKING_FILE);
	assert_int_equal(expected.follow, FOLLOW_BY_WRAPPER);
	assert_null(expected.wrappers);
	assert_int_equal(expected.follow_timeout_s, 30);
	assert_int_equal(expected.file_timeout_ms, 500);
	assert_int_equal(expected.hold_timeout_ms, 2000);
	assert_true(expected.rebase);
	assert_false(expected.perf_map);
	assert_false(expected.rodata);
}

/* HEAD, then COUNT times ENTRY with commas between, then TAIL; free() it. */
static char *repeated(const char *head, const char *entry, size_t count, const char *tail)
{
	char *text = malloc(strlen(head) + count * (strlen(entry) + 1) + strlen(tail) + 1);
	assert_non_null(text);
	char *end = stpcpy(text, head);
	for (size_t i = 0; i < count; i++)
		end = stpcpy(stpcpy(end, i ? "," : ""), entry);
	strcpy(end, tail);
	return text;
}

static void check_limit(char *text, const char *message)
{
	struct policy *policy = NULL;
	struct error err = {0};
	int result = policy_parse(text, strlen(text), "p.json", &policy, &err);
	free(text);
	if (!message) {
		if (result < 0)
			fail_msg("%s", err.detail);
		policy_free(policy);
		return;
	}
	assert_int_equal(result, -1);
	if (!strstr(err.detail, message))
		fail_msg("%s, not %s", err.detail, message);
}

static void limits(void **state)
{
	(void)state;
	static const char rules[] = "{\"version\":1,\"rules\":[";
	static const char exes[] = "{\"version\":1,\"rules\":[{\"match\":{\"exe\":[";
	check_limit(repeated(rules, "{\"match\":{}}", 10000, "]}"), NULL);
	check_limit(repeated(rules, "{\"match\":{}}", 10001, "]}"), "p.json:1:22: a policy has at most 10000 rules");
	check_limit(repeated(exes, "\"/a\"", 1024, "]}}]}"), NULL);
	check_limit(repeated(exes, "\"/a\"", 1025, "]}}]}"), "p.json:1:39: a list has at most 1024 entries");

	char pattern[1100] = "\"/";
	memset(pattern + 2, 'x', 1023);
	strcpy(pattern + 2 + 1023, "\"");
	check_limit(repeated(exes, pattern, 1, "]}}]}"), NULL);
	strcpy(pattern + 2 + 1023, "x\"");
	check_limit(repeated(exes, pattern, 1, "]}}]}"), "a pattern has at most 1024 characters");

	char deep[200] = "{\"version\":1,\"default\":";
	size_t used = strlen(deep);
	memset(deep + used, '[', 31);
	memset(deep + used + 31, ']', 31);
	strcpy(deep + used + 62, "}");
	check_limit(strdup(deep), "expected one of");
	memset(deep + used, '[', 32);
	check_limit(strdup(deep), "nested too deeply");

	/* 1 MiB, and a byte more. */
	size_t mib = 1 << 20;
	char *large = malloc(mib + 2);
	assert_non_null(large);
	memset(large, ' ', mib + 1);
	large[mib + 1] = '\0';
	memcpy(large, "{\"version\":1}", 13);
	struct policy *policy = NULL;
	struct error err = {0};
	assert_int_equal(policy_parse(large, mib, "p.json", &policy, &err), 0);
	policy_free(policy);
	assert_int_equal(policy_parse(large, mib + 1, "p.json", &policy, &err), -1);
	assert_string_equal(reason_word(err.code), "policy-too-large");
	/* An object of very many keys, the last of them twice: found at once all the same. */
	char *end = large + sprintf(large, "{\"version\":1,\"rules\":[{\"match\":{\"annotation\":{");
	for (int i = 0; i < 60000; i++)
		end += sprintf(end, "\"k%d\":\"v\",", i);
	sprintf(end, "\"k59999\":\"v\"}}}]}");
	check_limit(large, "duplicate key");
}

static void messages_are_one_clean_line(void **state)
{
	(void)state;
	struct policy *policy = NULL;
	struct error err = {0};
	const char *text = "{\"version\":1,\"\\u001b[31m\\nforged:1:1: fine\":1}";
	assert_int_equal(policy_parse(text, strlen(text), "p.json", &policy, &err), -1);
	for (const char *p = err.detail; *p; p++)
		assert_true((unsigned char)*p >= ' ');
	assert_int_equal(strncmp(err.detail, "p.json:1:14: unknown key \"?[31m?forged", 38), 0);
	/* A long path does not push the message out. */
	char name[4000];
	memset(name, 'd', sizeof name);
	strcpy(name + sizeof name - 8, "/p.json");
	assert_int_equal(policy_parse("{", 1, name, &policy, &err), -1);
	assert_non_null(strstr(err.detail, "/p.json:1:2: the JSON ends too early"));
}

static void overriding(void **state)
{
	(void)state;
	struct settings settings, before;
	struct error err = {0};
	settings_default(&settings);
	assert_int_equal(settings_override(&settings, &(struct overrides){0}, &err), 0);
	assert_int_equal(settings.backing_count, BACKING_COUNT);
	assert_int_equal(settings_override(&settings, &(struct overrides){"thp,hugetlb", "full"}, &err), 0);
	assert_int_equal(settings.coverage, COVERAGE_FULL);
	assert_int_equal(settings.backing_count, 2);
	assert_int_equal(settings.backing[0], BACKING_THP);
	assert_int_equal(settings.backing[1], BACKING_HUGETLB);
	static const char *const wrong[] = {"", ",", "thp,", "THP", "thp,thp", "file,hugetlb,thp,file", "thp hugetlb"};
	before = settings;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(settings_override(&settings, &(struct overrides){wrong[i], "cheap"}, &err), -1);
		assert_string_equal(reason_word(err.code), "usage");
		assert_memory_equal(&settings, &before, sizeof settings);
		assert_int_equal(settings_override(&settings, &(struct overrides){"file", wrong[i]}, &err), -1);
		assert_memory_equal(&settings, &before, sizeof settings);
	}
	assert_int_equal(settings_override(&settings, &(struct overrides){NULL, "cheap"}, &err), 0);
	assert_int_equal(settings.coverage, COVERAGE_CHEAP);
	assert_string_equal(backing_name(BACKING_HUGETLB), "hugetlb");
	assert_null(backing_name(BACKING_NONE));
	assert_string_equal(via_name(VIA_ATTACH), "attach");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(complaints),    cmocka_unit_test(json_that_is_none),
	    cmocka_unit_test(every_setting), cmocka_unit_test(rule_over_settings_over_defaults),
	    cmocka_unit_test(limits),        cmocka_unit_test(messages_are_one_clean_line),
	    cmocka_unit_test(overriding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
