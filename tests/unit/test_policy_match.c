/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching and deciding: each key, lists, order, what is not known.
 */
#include "policy_testing.h"

static void path_globs(void **state)
{
	(void)state;
	static const struct {
		const char *glob, *path;
		bool matches;
	} cases[] = {
	    {"/usr/bin/ls", "/usr/bin/ls", true},
	    {"/usr/bin/ls", "/usr/bin/lsx", false},
	    {"/usr/bin/l?", "/usr/bin/ls", true},
	    {"/usr?bin/ls", "/usr/bin/ls", false},
	    {"/usr/*/ls", "/usr/bin/ls", true},
	    {"/usr/*", "/usr/bin/ls", false},
	    {"/*/*/ls", "/usr/bin/ls", true},
	    {"/usr/bin/[lm]s", "/usr/bin/ls", true},
	    {"/usr/bin/[!lm]s", "/usr/bin/ls", false},
	    {"/usr[/]bin/ls", "/usr/bin/ls", false},
	    {"/usr/bin/\\*", "/usr/bin/*", true},
	    {"/usr/bin/\\*", "/usr/bin/x", false},
	    {"/.*", "/.hidden", true},
	    {"/*", "/.hidden", true},
	    {"**", "/usr/bin/ls", true},
	    {"/**", "/usr/bin/ls", true},
	    {"/**", "/", true},
	    {"/usr/**", "/usr/bin/ls", true},
	    {"/usr/**", "/usr", true},
	    {"/usr/**", "/usrlocal/bin", false},
	    {"/usr/**", "/opt/usr/bin", false},
	    {"**/ls", "/usr/bin/ls", true},
	    {"**/ls", "/ls", true},
	    {"/**/ls", "/ls", true},
	    {"**/ls", "/usr/bin/lsx", false},
	    {"**/ls", "/usr/bin/xls", false},
	    {"**/bin/ls", "/bin/bin/ls", true},
	    {"/usr/**/ls", "/usr/ls", true},
	    {"/usr/**/ls", "/usr/a/b/c/ls", true},
	    {"/usr/**/ls", "/usr/a/b/c/ls/x", false},
	    {"/usr/**/b/*/ls", "/usr/a/b/c/ls", true},
	    {"/usr/**/b/**/ls", "/usr/a/b/c/b/d/ls", true},
	    {"/usr/**/b/**/ls", "/usr/b/ls", true},
	    {"/usr/**/b/**/ls", "/usr/a/ls", false},
	    {"/usr/**/b/**/b/ls", "/usr/b/ls", false},
	    {"/usr/**/b/**/b/ls", "/usr/b/b/ls", true},
	    {"/a/**/**/b", "/a/b", true},
	    {"/a/**/x*/y/**", "/a/1/x/2/xx/y", true},
	    {"/a/**/x*/y/**", "/a/1/x/2/xx", false},
	    {"/**/a?/**/*.so", "/lib/ab/x/libz.so", true},
	    {"/usr/**", "relative", false},
	    {"/usr/**/ls", "", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (policy_path_matches(cases[i].glob, cases[i].path) != cases[i].matches)
			fail_msg("%s on %s: not %d", cases[i].glob, cases[i].path, cases[i].matches);
	}
}

/* What an exponential matcher would not finish in this world's lifetime. */
static void hostile_globs_end(void **state)
{
	(void)state;
	char glob[1025], path[4096];
	size_t used = 0;
	for (size_t i = 0; i < sizeof path - 1; i += 2)
		memcpy(path + i, "/a", 2);
	path[sizeof path - 1] = '\0';
	while (used < 1016)
		used += (size_t)sprintf(glob + used, "/**/*a*a");
	sprintf(glob + used, "/b");
	assert_false(policy_path_matches(glob, path));
	memset(path, 'a', sizeof path - 1);
	path[0] = '/';
	glob[0] = '/';
	for (size_t i = 1; i < 1000; i += 2)
		memcpy(glob + i, "*a", 2);
	strcpy(glob + 1001, "b");
	assert_false(policy_path_matches(glob, path));
}

static void exe(void **state)
{
	(void)state;
	struct match_input ls = {.via = VIA_SHIM, .exe = "/usr/bin/ls"};
	struct match_input unknown = {.via = VIA_SHIM};
	struct match_input by_link = {.via = VIA_SHIM, .exe = "/usr/bin/busybox", .called = "/opt/ls"};
	assert_int_equal(match_says("{\"exe\":\"/opt/ls\"}", &by_link), ACTION_REMAP);
	assert_int_equal(match_says("{\"exe\":\"/usr/bin/busybox\"}", &by_link), ACTION_REMAP);
	assert_int_equal(match_says("{\"exe\":\"/usr/bin/ls\"}", &by_link), ACTION_SKIP);
	assert_int_equal(match_says("{\"exe\":\"/usr/bin/*\"}", &ls), ACTION_REMAP);
	assert_int_equal(match_says("{\"exe\":[\"/opt/*\",\"/usr/bin/ls\"]}", &ls), ACTION_REMAP);
	assert_int_equal(match_says("{\"exe\":[\"/opt/*\",\"/usr/bin/cat\"]}", &ls), ACTION_SKIP);
	assert_int_equal(match_says("{\"exe\":\"**\"}", &unknown), ACTION_SKIP);
	assert_int_equal(match_says("{}", &unknown), ACTION_REMAP);
}

static void unit_and_cgroup(void **state)
{
	(void)state;
	struct match_input input = {.via = VIA_SHIM, .unit = "a/b@1.service", .cgroup = "/system.slice/b.service"};
	struct match_input unknown = {.via = VIA_SHIM};
	assert_int_equal(match_says("{\"unit\":\"*.service\"}", &input), ACTION_REMAP); /* a unit is no path */
	assert_int_equal(match_says("{\"unit\":[\"x\",\"a/b@?.service\"]}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"unit\":\"b@1.service\"}", &input), ACTION_SKIP);
	assert_int_equal(match_says("{\"unit\":\"*\"}", &unknown), ACTION_SKIP);
	assert_int_equal(match_says("{\"cgroup\":\"/system.slice/*\"}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"cgroup\":\"/*\"}", &input), ACTION_SKIP);
	assert_int_equal(match_says("{\"cgroup\":\"/**\"}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"cgroup\":\"/**\"}", &unknown), ACTION_SKIP);
}

static void user(void **state)
{
	(void)state;
	const struct known_user known[] = {{"root", true, 0}, {"no-such-user-here", false, 0}};
	struct match_input root = {.via = VIA_SHIM, .uid = 0, .users = known, .user_count = 2};
	struct match_input other = {.via = VIA_SHIM, .uid = 4242, .users = known, .user_count = 2};
	assert_int_equal(match_says("{\"user\":\"root\"}", &root), ACTION_REMAP);
	assert_int_equal(match_says("{\"user\":\"root\"}", &other), ACTION_SKIP);
	assert_int_equal(match_says("{\"user\":4242}", &other), ACTION_REMAP);
	assert_int_equal(match_says("{\"user\":\"4242\"}", &other), ACTION_REMAP);
	assert_int_equal(match_says("{\"user\":\"04242\"}", &other), ACTION_REMAP);
	assert_int_equal(match_says("{\"user\":4243}", &other), ACTION_SKIP);
	assert_int_equal(match_says("{\"user\":[\"root\",1,4242]}", &other), ACTION_REMAP);
	assert_int_equal(match_says("{\"user\":\"no-such-user-here\"}", &root), ACTION_SKIP);
	assert_int_equal(match_says("{\"user\":4294967294}", &other), ACTION_SKIP);
}

static void a_name_that_was_not_looked_up(void **state)
{
	(void)state;
	const struct known_user known[] = {{"other", true, 7}};
	struct match_input input = {.via = VIA_SHIM, .exe = "/x", .uid = 0, .users = known, .user_count = 1};
	struct decision decision;
	struct policy *policy =
	    policy_of("{\"version\":1,\"rules\":[{\"match\":{\"exe\":\"/y\",\"user\":\"nobody-asks\"}},"
	              "{\"match\":{\"user\":[\"other\",\"root\",\"third\"],\"build_id\":\"abcd\"}}]}");
	policy_decide(policy, &input, &decision);
	assert_int_equal(decision.action, ACTION_UNDECIDED);
	assert_string_equal(decision.user, "root");
	const struct known_user both[] = {{"other", true, 7}, {"root", true, 0}};
	input.users = both;
	input.user_count = 2;
	policy_decide(policy, &input, &decision);
	assert_int_equal(decision.action, ACTION_UNDECIDED);
	assert_null(decision.user); /* now it is the build id */
	policy_free(policy);
	/* One that decides by itself asks for none of the others. */
	assert_int_equal(match_says("{\"user\":[\"x\",0]}", &input), ACTION_REMAP);
}

static void via(void **state)
{
	(void)state;
	struct match_input shim = {.via = VIA_SHIM}, hook = {.via = VIA_HOOK}, attach = {.via = VIA_ATTACH};
	assert_int_equal(match_says("{\"via\":\"hook\"}", &hook), ACTION_REMAP);
	assert_int_equal(match_says("{\"via\":\"hook\"}", &shim), ACTION_SKIP);
	assert_int_equal(match_says("{\"via\":[\"shim\",\"attach\"]}", &attach), ACTION_REMAP);
	assert_int_equal(match_says("{\"via\":[\"shim\",\"attach\"]}", &shim), ACTION_REMAP);
	assert_int_equal(match_says("{\"via\":[\"shim\",\"attach\"]}", &hook), ACTION_SKIP);
}

static void build_id(void **state)
{
	(void)state;
	struct match_input input = {.via = VIA_SHIM, .exe = "/x", .build_id = "ab12cd34"};
	struct match_input unread = {.via = VIA_SHIM, .exe = "/x"},
	                   none = {.via = VIA_SHIM, .exe = "/x", .build_id = ""};
	assert_int_equal(match_says("{\"build_id\":\"ab12\"}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"build_id\":\"AB12CD34\"}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"build_id\":\"ab12cd3400\"}", &input), ACTION_SKIP);
	assert_int_equal(match_says("{\"build_id\":\"12cd\"}", &input), ACTION_SKIP);
	assert_int_equal(match_says("{\"build_id\":[\"ffff\",\"ab12\"]}", &input), ACTION_REMAP);
	assert_int_equal(match_says("{\"build_id\":\"ab12\"}", &unread), ACTION_UNDECIDED);
	assert_int_equal(match_says("{\"build_id\":\"ab12\"}", &none), ACTION_SKIP);
	/* What else is false needs no reading. */
	assert_int_equal(match_says("{\"build_id\":\"ab12\",\"exe\":\"/y\"}", &unread), ACTION_SKIP);
	assert_int_equal(match_says("{\"build_id\":\"ab12\",\"user\":77}", &unread), ACTION_SKIP);
	assert_int_equal(match_says("{\"build_id\":\"ab12\",\"user\":0}", &unread), ACTION_UNDECIDED);
}

static void every_key_must_hold(void **state)
{
	(void)state;
	const char *match =
	    "{\"exe\":\"/x\",\"unit\":\"u\",\"cgroup\":\"/c\",\"user\":5,\"via\":\"attach\",\"build_id\":\"abcd\"}";
	struct match_input all = {
	    .via = VIA_ATTACH, .exe = "/x", .unit = "u", .cgroup = "/c", .uid = 5, .build_id = "abcdef"};
	assert_int_equal(match_says(match, &all), ACTION_REMAP);
	struct match_input changed[] = {all, all, all, all, all, all};
	changed[0].via = VIA_SHIM;
	changed[1].exe = "/y";
	changed[2].unit = "v";
	changed[3].cgroup = "/d";
	changed[4].uid = 6;
	changed[5].build_id = "bcdef0";
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(match_says(match, &changed[i]), ACTION_SKIP);
}

static void first_match_decides(void **state)
{
	(void)state;
	struct policy *policy = policy_of(
	    "{\"version\":1,\"default\":\"remap\",\"settings\":{\"min_text\":\"3M\",\"rebase\":false},\"rules\":["
	    "{\"match\":{\"exe\":\"/a\"},\"action\":\"skip\",\"min_text\":1},"
	    "{\"name\":\"second\",\"match\":{\"exe\":\"/*\"},\"max_text\":\"9M\"},"
	    "{\"name\":\"third\",\"match\":{\"exe\":\"/a\"}}]}");
	struct match_input a = {.via = VIA_SHIM, .exe = "/a"}, b = {.via = VIA_SHIM, .exe = "/b"};
	struct match_input deep = {.via = VIA_SHIM, .exe = "/d/e"};
	struct decision decision;
	policy_decide(policy, &a, &decision);
	assert_int_equal(decision.action, ACTION_SKIP);
	assert_true(decision.rule_matched);
	assert_null(decision.rule_name);
	assert_int_equal(decision.rule_index, 0);
	assert_string_equal(decision.rule_file, "p.json");
	assert_int_equal(decision.settings.min_text_bytes, 1);
	policy_decide(policy, &b, &decision);
	assert_int_equal(decision.action, ACTION_REMAP);
	assert_string_equal(decision.rule_name, "second");
	assert_int_equal(decision.rule_index, 1);
	assert_int_equal(decision.settings.min_text_bytes, 3 << 20);
	assert_int_equal(decision.settings.max_text_bytes, 9 << 20);
	assert_false(decision.settings.rebase);
	policy_decide(policy, &deep, &decision);
	assert_int_equal(decision.action, ACTION_REMAP);
	assert_false(decision.rule_matched);
	assert_null(decision.rule_file);
	assert_int_equal(decision.settings.max_text_bytes, UINT64_MAX);
	policy_free(policy);
}

static void undecided_is_not_passed_over(void **state)
{
	(void)state;
	struct policy *policy =
	    policy_of("{\"version\":1,\"rules\":[{\"name\":\"id\",\"match\":{\"build_id\":\"abcd\"},"
	              "\"action\":\"skip\"},{\"name\":\"all\",\"match\":{}}]}");
	struct match_input input = {.via = VIA_SHIM, .exe = "/a"};
	struct decision decision;
	policy_decide(policy, &input, &decision);
	assert_int_equal(decision.action, ACTION_UNDECIDED);
	assert_string_equal(decision.rule_name, "id");
	input.build_id = "";
	policy_decide(policy, &input, &decision);
	assert_string_equal(decision.rule_name, "all");
	input.build_id = "abcdef";
	assert_int_equal(decide(policy, &input), ACTION_SKIP);
	policy_free(policy);
}

static void needs(void **state)
{
	(void)state;
	static const struct {
		const char *match;
		unsigned needs;
	} cases[] = {
	    {"{}", 0},
	    {"{\"exe\":\"/x\",\"via\":\"hook\"}", INPUT_CALLED},
	    {"{\"build_id\":\"abcd\"}", INPUT_BUILD_ID},
	    {"{\"unit\":\"x\"}", INPUT_UNIT},
	    {"{\"cgroup\":\"/x\"}", INPUT_CGROUP},
	    {"{\"annotation\":{\"a\":\"b\"}}", INPUT_CONTAINER},
	    {"{\"namespace\":\"x\"}", INPUT_CONTAINER},
	    {"{\"label\":{\"a\":\"b\"}}", INPUT_CONTAINER},
	    {"{\"user\":1}", INPUT_USER},
	    {"{\"user\":1,\"unit\":\"x\"}", INPUT_USER | INPUT_UNIT},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy *policy = policy_matching(cases[i].match);
		assert_int_equal(policy_needs(policy), cases[i].needs);
		policy_free(policy);
	}
	struct policy *two =
	    policy_of("{\"version\":1,\"rules\":[{\"match\":{\"unit\":\"x\"}},{\"match\":{\"user\":1}}]}");
	assert_int_equal(policy_needs(two), INPUT_UNIT | INPUT_USER);
	policy_free(two);
}

static void may_remap(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned doors; /* through which something could be remapped */
	} cases[] = {
	    {"{\"version\":1}", 0},
	    {"{\"version\":1,\"default\":\"remap\"}", VIA_SHIM | VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{}}]}", VIA_SHIM | VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{},\"action\":\"skip\"}]}", 0},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"via\":\"hook\"}}]}", VIA_HOOK},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"via\":[\"hook\",\"attach\"],\"exe\":\"/x\"}}]}",
	     VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"annotation\":{\"a\":\"b\"}}}]}", VIA_HOOK},
	    {"{\"version\":1,\"default\":\"remap\",\"rules\":[{\"match\":{\"via\":\"shim\"},\"action\":\"skip\"}]}",
	     VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"via\":\"shim\"},\"action\":\"skip\"},{\"match\":{\"exe\":\"/"
	     "x\"}}]}",
	     VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"exe\":\"/y\"},\"action\":\"skip\"},{\"match\":{\"exe\":\"/"
	     "x\"}}]}",
	     VIA_SHIM | VIA_HOOK | VIA_ATTACH},
	    {"{\"version\":1,\"rules\":[{\"match\":{\"annotation\":{\"a\":\"b\"}},\"action\":\"skip\"},{\"match\":{}}]"
	     "}",
	     VIA_SHIM | VIA_HOOK | VIA_ATTACH},
	};
	static const enum via doors[] = {VIA_SHIM, VIA_HOOK, VIA_ATTACH};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy *policy = policy_of(cases[i].text);
		for (size_t j = 0; j < 3; j++) {
			if (policy_may_remap(policy, doors[j]) != ((cases[i].doors & doors[j]) != 0))
				fail_msg("%s: wrong for %s", cases[i].text, via_name(doors[j]));
		}
		policy_free(policy);
	}
}

/* Of HOSTS made-up hosts, how many the rule NAME of PERCENT has; -1: one that a share of LESS percent has is missing.
 */
static int hosts_of_share(const char *name, int percent, int less, int hosts)
{
	char text[2][256], id[33];
	struct policy *policies[2];
	int count = 0;
	for (int i = 0; i < 2; i++) {
		snprintf(text[i], sizeof text[i],
		         "{\"version\":1,\"rules\":[{\"name\":\"%s\",\"match\":{\"share\":%d}}]}", name,
		         i ? less : percent);
		policies[i] = policy_of(text[i]);
	}
	for (int i = 0; i < hosts && count >= 0; i++) {
		snprintf(id, sizeof id, "%032x", (unsigned)i * 2654435761U);
		struct match_input input = {.via = VIA_SHIM, .exe = "/x", .machine_id = id};
		bool is_in = decide(policies[0], &input) == ACTION_REMAP;
		count = !is_in && decide(policies[1], &input) == ACTION_REMAP ? -1 : count + is_in;
	}
	policy_free(policies[0]);
	policy_free(policies[1]);
	return count;
}

static void share(void **state)
{
	(void)state;
	static const int percents[] = {1, 10, 50, 99};
	assert_int_equal(hosts_of_share("x", 0, 0, 1000), 0);
	assert_int_equal(hosts_of_share("x", 100, 99, 1000), 1000);
	for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
		int hosts = hosts_of_share("canary", percents[i], percents[i] / 2, 10000);
		assert_in_range(hosts, percents[i] * 100 * 8 / 10, percents[i] * 100 * 12 / 10);
	}
	/* These are promised: a new version has the same hosts. */
	struct match_input input = {.via = VIA_SHIM, .exe = "/x", .machine_id = "0123456789abcdef0123456789abcdef"};
	struct policy *in = policy_of("{\"version\":1,\"rules\":[{\"name\":\"canary\",\"match\":{\"share\":23}}]}");
	struct policy *out = policy_of("{\"version\":1,\"rules\":[{\"name\":\"canary\",\"match\":{\"share\":22}}]}");
	assert_int_equal(decide(in, &input), ACTION_REMAP);
	assert_int_equal(decide(out, &input), ACTION_SKIP);
	assert_int_equal(policy_needs(out), INPUT_MACHINE_ID);
	assert_true(policy_may_remap(out, VIA_SHIM));
	input.machine_id = NULL;
	assert_int_equal(decide(in, &input), ACTION_SKIP);
	policy_free(in);
	policy_free(out);
	struct policy *skips = policy_of("{\"version\":1,\"default\":\"remap\",\"rules\":[{\"name\":\"a\","
	                                 "\"match\":{\"share\":1},\"action\":\"skip\"}]}");
	assert_true(policy_may_remap(skips, VIA_SHIM));
	policy_free(skips);
}

static void observe(void **state)
{
	(void)state;
	struct match_input input = {.via = VIA_SHIM, .exe = "/x"};
	struct policy *policy = policy_of("{\"version\":1,\"settings\":{\"on_error\":\"fail\"},"
	                                  "\"rules\":[{\"match\":{},\"action\":\"observe\"}]}");
	struct decision decision;
	policy_decide(policy, &input, &decision);
	assert_int_equal(decision.action, ACTION_OBSERVE);
	assert_int_equal(decision.settings.on_error, ON_ERROR_CONTINUE);
	assert_true(policy_may_remap(policy, VIA_HOOK));
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(path_globs),
	    cmocka_unit_test(hostile_globs_end),
	    cmocka_unit_test(exe),
	    cmocka_unit_test(unit_and_cgroup),
	    cmocka_unit_test(user),
	    cmocka_unit_test(a_name_that_was_not_looked_up),
	    cmocka_unit_test(via),
	    cmocka_unit_test(build_id),
	    cmocka_unit_test(every_key_must_hold),
	    cmocka_unit_test(first_match_decides),
	    cmocka_unit_test(undecided_is_not_passed_over),
	    cmocka_unit_test(needs),
	    cmocka_unit_test(may_remap),
	    cmocka_unit_test(share),
	    cmocka_unit_test(observe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
