/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy names to be prepared.
 */
#include "policy_testing.h"

static char seen[1024];

static void note(void *context, const char *const *exe, const struct settings *settings)
{
	(void)context;
	char *at = seen + strlen(seen);
	at += sprintf(at, "[");
	for (; exe && *exe; exe++)
		at += sprintf(at, " %s", *exe);
	for (char *const *glob = settings->library_prepare; glob && *glob; glob++)
		at += sprintf(at, " +%s", *glob);
	sprintf(at, "]");
}

static const char *rules_of(const char *text)
{
	struct policy *policy = policy_of(text);
	seen[0] = '\0';
	policy_each_file_rule(policy, note, NULL);
	policy_free(policy);
	return seen;
}

static void rules_that_remap_in_place(void **state)
{
	(void)state;
	const char *text = "{\"version\":1,\"rules\":["
	                   "{\"match\":{\"exe\":[\"/a\",\"/b*\"]}},"
	                   "{\"match\":{\"exe\":\"/skipped\"},\"action\":\"skip\"},"
	                   "{\"match\":{\"exe\":\"/copied\"},\"backing\":[\"hugetlb\",\"thp\"]},"
	                   "{\"match\":{\"user\":\"root\"},\"libraries\":{\"prepare\":[\"/x/*\"]}},"
	                   "{\"match\":{\"exe\":\"/d\"},\"backing\":[\"hugetlb\",\"file\"]}]}";
	assert_string_equal(rules_of(text), "[ /a /b*][ +/x/*][ /d]");
}

static void settings_of_the_file_count(void **state)
{
	(void)state;
	const char *text = "{\"version\":1,\"settings\":{\"backing\":[\"thp\"]},\"rules\":["
	                   "{\"match\":{\"exe\":\"/a\"}},"
	                   "{\"match\":{\"exe\":\"/b\"},\"backing\":[\"file\"]}]}";
	assert_string_equal(rules_of(text), "[ /b]");
	assert_string_equal(rules_of("{\"version\":1,\"rules\":[]}"), "");
}

static void programs_that_are_left_alone(void **state)
{
	(void)state;
	struct policy *policy = policy_of("{\"version\":1,\"rules\":["
	                                  "{\"match\":{\"user\":\"root\"},\"action\":\"skip\"},"
	                                  "{\"match\":{\"exe\":\"/bin/no\"},\"action\":\"skip\"},"
	                                  "{\"match\":{\"exe\":\"/bin/*\"}},"
	                                  "{\"match\":{\"exe\":\"/**/late\"},\"action\":\"skip\"}]}");
	assert_true(policy_skips_exe(policy, "/bin/no"));
	assert_false(policy_skips_exe(policy, "/bin/yes"));
	assert_false(policy_skips_exe(policy, "/bin/late"));
	assert_true(policy_skips_exe(policy, "/opt/late"));
	assert_false(policy_skips_exe(policy, "/opt/other"));
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rules_that_remap_in_place),
	    cmocka_unit_test(settings_of_the_file_count),
	    cmocka_unit_test(programs_that_are_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
