/*
 * Which programs a policy names by a plain path.
 */
#include "policy_testing.h"

static const char *exes[8];

static size_t exes_of(const char *text, size_t max)
{
	static struct policy *policy; /* its strings are compared after */
	policy_free(policy);
	policy = policy_of(text);
	memset(exes, 0, sizeof exes);
	return policy_plain_exes(policy, exes, max);
}

static void plain_paths_of_remap_rules(void **state)
{
	(void)state;
	const char *text = "{\"version\":1,\"rules\":["
	                   "{\"match\":{\"exe\":[\"/a\",\"/b*\",\"/c\",\"/a\",\"/x?\",\"/[x]\",\"/\\\\*\"]}},"
	                   "{\"match\":{\"exe\":\"/skipped\"},\"action\":\"skip\"},"
	                   "{\"match\":{\"exe\":\"/copied\"},\"backing\":[\"hugetlb\",\"thp\"]},"
	                   "{\"match\":{\"user\":\"root\"}},"
	                   "{\"match\":{\"exe\":\"/c\"}},"
	                   "{\"match\":{\"exe\":\"/d\"},\"backing\":[\"hugetlb\",\"file\"]}]}";
	assert_int_equal(exes_of(text, 8), 3);
	assert_string_equal(exes[0], "/a");
	assert_string_equal(exes[1], "/c");
	assert_string_equal(exes[2], "/d");
	assert_null(exes[3]);
}

static void settings_of_the_file_count(void **state)
{
	(void)state;
	const char *text = "{\"version\":1,\"settings\":{\"backing\":[\"thp\"]},\"rules\":["
	                   "{\"match\":{\"exe\":\"/a\"}},"
	                   "{\"match\":{\"exe\":\"/b\"},\"backing\":[\"file\"]}]}";
	assert_int_equal(exes_of(text, 8), 1);
	assert_string_equal(exes[0], "/b");
}

static void more_than_there_is_room_for(void **state)
{
	(void)state;
	const char *text = "{\"version\":1,\"rules\":[{\"match\":{\"exe\":[\"/a\",\"/b\",\"/c\"]}}]}";
	assert_int_equal(exes_of(text, 2), 3);
	assert_string_equal(exes[1], "/b");
	assert_null(exes[2]);
	assert_int_equal(exes_of(text, 0), 3);
	assert_int_equal(exes_of("{\"version\":1,\"rules\":[]}", 8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_paths_of_remap_rules),
	    cmocka_unit_test(settings_of_the_file_count),
	    cmocka_unit_test(more_than_there_is_room_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
