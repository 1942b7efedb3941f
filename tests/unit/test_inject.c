/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "inject.h"

#define HOOK "/opt/hugexec/hugexec-oci-hook"

static char directory[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/hugexec-inject-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command);
}

static void write_config(const char *text, mode_t mode)
{
	char path[128];
	snprintf(path, sizeof path, "%s/config.json", directory);
	unlink(path);
	int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static char *read_config(void)
{
	char path[128], *text = NULL;
	snprintf(path, sizeof path, "%s/config.json", directory);
	assert_int_equal(read_file_at(AT_FDCWD, path, 1 << 26, &text, NULL), 0);
	return text;
}

static int inject(const char *match, struct error *err)
{
	struct policy *policy = policy_matching(match);
	int result = inject_into_bundle(directory, "config.json", HOOK, policy, err);
	policy_free(policy);
	return result;
}

static unsigned count_files(void)
{
	unsigned count = 0;
	DIR *listing = opendir(directory);
	for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(listing);
	return count;
}

#define ENTRY(stage) "{\"path\":\"" HOOK "\",\"args\":[\"hugexec-oci-hook\",\"" stage "\"]}"
#define FIRST        ENTRY("createRuntime")
#define SECOND       ENTRY("poststop")

/* The file becomes AFTER to the byte, and once is enough. */
static void assert_becomes(const char *before, const char *after)
{
	struct error err = {0};
	write_config(before, 0640);
	if (inject("{}", &err) != 1)
		fail_msg("%s: %s %s", before, reason_word(err.code), err.detail);
	char *text = read_config();
	assert_string_equal(text, after);
	assert_int_equal(inject("{}", &err), 0);
	char *again = read_config();
	assert_string_equal(text, again);
	json_object *json = json_tokener_parse(text);
	assert_non_null(json);
	json_object_put(json);
	free(text);
	free(again);
	assert_int_equal(count_files(), 1);
}

static void adds_to_what_is_there(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	    {"{}", "{'hooks':{'createRuntime':[" FIRST "],'poststop':[" SECOND "]}}"},
	    {" { 'a' : 1 }\n", " {'hooks':{'createRuntime':[" FIRST "],'poststop':[" SECOND "]}, 'a' : 1 }\n"},
	    {"{'a':1,'hooks': null }", "{'a':1,'hooks': {'createRuntime':[" FIRST "],'poststop':[" SECOND "]} }"},
	    {"{'hooks':{}}", "{'hooks':{'createRuntime':[" FIRST "],'poststop':[" SECOND "]}}"},
	    {"{'hooks':{ 'x':[]}}", "{'hooks':{'createRuntime':[" FIRST "],'poststop':[" SECOND "], 'x':[]}}"},
	    {"{'hooks':{'createRuntime':null}}", "{'hooks':{'poststop':[" SECOND "],'createRuntime':[" FIRST "]}}"},
	    {"{'hooks':{'poststop' :null, 'createRuntime': null}}",
	     "{'hooks':{'poststop' :[" SECOND "], 'createRuntime': [" FIRST "]}}"},
	    {"{'hooks':{'createRuntime':[ ]}}", "{'hooks':{'poststop':[" SECOND "],'createRuntime':[ " FIRST "]}}"},
	    {"{'hooks':{'poststop':[{'path':'/]'} ],'createRuntime':[\n{'path':'/a'},[ ]\n]}}",
	     "{'hooks':{'poststop':[{'path':'/]'} ," SECOND "],'createRuntime':[\n{'path':'/a'},[ ]\n," FIRST "]}}"},
	    {"{'hooks':{'createRuntime':[{'path':'/a'}],'prestart':[{'path':'" HOOK "'}]}}",
	     "{'hooks':{'poststop':[" SECOND "],'createRuntime':[{'path':'/a'}," FIRST "],'prestart':[{'path':'" HOOK
	     "'}]}}"},
	    {"{'hooks':{'createRuntime':[" FIRST ",{'path':'/a'}],'poststop':[]}}",
	     "{'hooks':{'createRuntime':[" FIRST ",{'path':'/a'}],'poststop':[" SECOND "]}}"},
	    {"{'hooks':{'createRuntime':[],'poststop':[" SECOND "]}}",
	     "{'hooks':{'createRuntime':[" FIRST "],'poststop':[" SECOND "]}}"},
	    {"{'x':{'hooks':{}},'\\u0068ooks':{'poststo\\u0070':[]}}",
	     "{'x':{'hooks':{}},'\\u0068ooks':{'createRuntime':[" FIRST "],'poststo\\u0070':[" SECOND "]}}"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[2][1024];
		for (int j = 0; j < 2; j++) {
			snprintf(text[j], sizeof text[j], "%s", cases[i][j]);
			for (char *quote = text[j]; (quote = strchr(quote, '\'')) != NULL;)
				*quote = '"';
		}
		assert_becomes(text[0], text[1]);
	}
}

/* Values that a reader of JSON may spoil: the hooks apart, what comes out is what went in. */
static void keeps_all_else(void **state)
{
	(void)state;
	static const char all[] =
	    "\"a\":18446744073709551616,\"b\":-9223372036854775809,\"c\":1.10,\"d\":1e400,\"e\":0.1000000000000000055,"
	    "\"f\":\"\\u20ac\\\"\\\\\\n\\u0001/"
	    "\xe2\x82\xac\",\"g\":[[] ,{},null,true,false,\"\"],\"\":{\"\":0},\"h\":1E-7,\"i\":-0.0,"
	    "\"36893488147419103232\":\"\\\" 36893488147419103232\",\"j\":36893488147419103232.5";
	/* json-c 0.17 and later take no integers beyond 64 bits, nor does Go, so no runtime. */
	const char *kept = json_c_version_num() < (17 << 8) ? all : strstr(all, "\"c\"");
	char text[1024], expected[2048];
	struct error err = {0};
	snprintf(text, sizeof text, " {\n%s }\n", kept);
	snprintf(expected, sizeof expected,
	         " {\"hooks\":{\"createRuntime\":[" FIRST "],\"poststop\":[" SECOND "]},\n%s }\n", kept);
	write_config(text, 0604);
	assert_int_equal(inject("{}", &err), 1);
	char *after = read_config();
	assert_string_equal(after, expected);
	free(after);
	struct stat about;
	char path[128];
	snprintf(path, sizeof path, "%s/config.json", directory);
	stat(path, &about);
	assert_int_equal(about.st_mode & 07777, 0604);
}

/* Where the hook is: any path, as far as JSON can hold it. */
static void odd_paths(void **state)
{
	(void)state;
	struct error err = {0};
	struct policy *policy = policy_matching("{}");
	write_config("{}", 0600);
	assert_int_equal(inject_into_bundle(directory, "config.json", "/a\"b\\c/\xe2\x82\xac", policy, &err), 1);
	char *after = read_config();
	assert_non_null(strstr(after, "[{\"path\":\"/a\\\"b\\\\c/\xe2\x82\xac\",\"args\":[\"\xe2\x82\xac\","));
	free(after);
	static const char *const impossible[] = {"/a\n/b", "/a/\xff"};
	for (size_t i = 0; i < 2; i++) {
		write_config("{}", 0600);
		assert_int_equal(inject_into_bundle(directory, "config.json", impossible[i], policy, &err), -1);
		assert_string_equal(reason_word(err.code), "config");
	}
	/* The longest there is, of what has to be escaped. */
	char path[4096];
	memset(path, '"', sizeof path - 1);
	path[0] = '/';
	path[sizeof path - 1] = '\0';
	assert_int_equal(inject_into_bundle(directory, "config.json", path, policy, &err), 1);
	assert_int_equal(inject_into_bundle(directory, "config.json", path, policy, &err), 0);
	policy_free(policy);
}

static void what_cannot_be_kept_is_left_alone(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    "null",
	    "[]",
	    "\"x\"",
	    "{",
	    "{\"a\":1,\"a\":2}",
	    "{\"a\":\"\xff\"}",
	    "{\"a\":\"\\u0000\"}",
	    "{\"hooks\":[]}",
	    "{\"hooks\":{\"createRuntime\":{}}}",
	    "{\"hooks\":{\"poststop\":7}}",
	    "{\"Hooks\":{\"createRuntime\":[]}}",
	    "{\"hooks\":{\"CREATERUNTIME\":[]}}",
	    "{} {}",
	    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
	};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct error err = {0};
		write_config(texts[i], 0600);
		if (inject("{}", &err) != -1 || strcmp(reason_word(err.code), "config") != 0)
			fail_msg("%s: %s", texts[i], reason_word(err.code));
		char *after = read_config();
		assert_string_equal(after, texts[i]);
		free(after);
		assert_int_equal(count_files(), 1);
	}
}

static void only_what_the_policy_wants(void **state)
{
	(void)state;
	struct error err = {0};
	static const char wanted[] = "{\"annotation\":{\"io.hugexec.remap\":\"true\"}}";
	write_config("{\"annotations\":{\"x\":7,\"io.hugexec.remap\":\"false\"}}", 0600);
	assert_int_equal(inject(wanted, &err), 0);
	write_config("{\"annotations\":[\"io.hugexec.remap\"]}", 0600);
	assert_int_equal(inject(wanted, &err), 0);
	write_config("{}", 0600);
	assert_int_equal(inject(wanted, &err), 0);
	/* What is wrong with hooks that nobody wants to add to is not ours to tell. */
	write_config("{\"hooks\":[]}", 0600);
	assert_int_equal(inject(wanted, &err), 0);
	char *after = read_config();
	assert_string_equal(after, "{\"hooks\":[]}");
	free(after);
	write_config("{\"annotations\":{\"x\":\"y\",\"io.hugexec.remap\":\"true\"}}", 0600);
	assert_int_equal(inject(wanted, &err), 1);
}

static void hostile_bundles(void **state)
{
	(void)state;
	struct error err = {0};
	char path[128], elsewhere[128];
	snprintf(path, sizeof path, "%s/config.json", directory);
	snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", directory);
	assert_int_equal(inject("{}", &err), -1); /* none there */
	assert_string_equal(reason_word(err.code), "bundle");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(reason_word(err.code), "bundle");
	write_config("{}", 0600);
	assert_int_equal(rename(path, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, path), 0);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(reason_word(err.code), "bundle");
	unlink(path);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, (off_t)100 << 20), 0);
	close(fd);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(reason_word(err.code), "bundle");
	assert_non_null(strstr(err.detail, "too large"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(adds_to_what_is_there, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(keeps_all_else, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(odd_paths, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_cannot_be_kept_is_left_alone, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(only_what_the_policy_wants, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(hostile_bundles, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
