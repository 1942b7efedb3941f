#include "policy_testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../oci-hook/inject.h"
#include "base/io.h"

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

/* The member at STAGE of the hooks of TEXT, printed. */
static void assert_hooks(const char *text, const char *stage, const char *expected)
{
	json_object *config = json_tokener_parse(text);
	json_object *list = json_object_object_get(json_object_object_get(config, "hooks"), stage);
	assert_string_equal(
	    json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), expected);
	json_object_put(config);
}

#define ENTRY(stage) "{\"path\":\"" HOOK "\",\"args\":[\"hugexec-oci-hook\",\"" stage "\"]}"

static void adds_to_what_is_there(void **state)
{
	(void)state;
	static const struct {
		const char *config, *hooks_before;
	} cases[] = {
	    {"{}", ""},
	    {"{\"hooks\":null}", ""},
	    {"{\"hooks\":{}}", ""},
	    {"{\"hooks\":{\"createRuntime\":null}}", ""},
	    {"{\"hooks\":{\"createRuntime\":[]}}", ""},
	    {"{\"hooks\":{\"createRuntime\":[{\"path\":\"/a\"}],\"prestart\":[{\"path\":\"" HOOK "\"}]}}",
	     "{\"path\":\"/a\"},"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char expected[512];
		struct error err = {0};
		write_config(cases[i].config, 0640);
		assert_int_equal(inject("{}", &err), 1);
		char *text = read_config();
		snprintf(expected, sizeof expected, "[%s%s]", cases[i].hooks_before, ENTRY("createRuntime"));
		assert_hooks(text, "createRuntime", expected);
		assert_hooks(text, "poststop", "[" ENTRY("poststop") "]");
		/* Once is enough. */
		assert_int_equal(inject("{}", &err), 0);
		char *again = read_config();
		assert_string_equal(text, again);
		free(text);
		free(again);
		assert_int_equal(count_files(), 1);
	}
}

/* Values that a reader of JSON may spoil: the hooks apart, what comes out means what went in. */
static void keeps_all_else(void **state)
{
	(void)state;
	static const char kept[] =
	    "\"a\":18446744073709551615,\"b\":-9223372036854775808,\"c\":1.10,\"d\":1e400,\"e\":0.1000000000000000055,"
	    "\"f\":\"\\u20ac\\\"\\\\\\n\\u0001/"
	    "\",\"g\":[[],{},null,true,false,\"\"],\"\":{\"\":0},\"h\":1E-7,\"i\":-0.0,"
	    "\"36893488147419103232\":\"\\\" 36893488147419103232\",\"j\":36893488147419103232.5";
	char text[1024];
	struct error err = {0};
	snprintf(text, sizeof text, " {\n%s }\n", kept);
	write_config(text, 0604);
	assert_int_equal(inject("{}", &err), 1);
	char *after = read_config();
	struct stat about;
	char path[128];
	snprintf(path, sizeof path, "%s/config.json", directory);
	stat(path, &about);
	assert_int_equal(about.st_mode & 07777, 0604);
	static const char *const values[] = {"\"a\":18446744073709551615,",
	                                     "\"b\":-9223372036854775808,",
	                                     "\"c\":1.10,",
	                                     "\"d\":1e400,",
	                                     "\"e\":0.1000000000000000055,",
	                                     "\"f\":\"\xe2\x82\xac\\\"\\\\\\n\\u0001/\",",
	                                     "\"g\":[[],{},null,true,false,\"\"],",
	                                     "\"\":{\"\":0},",
	                                     "\"h\":1E-7,",
	                                     "\"i\":-0.0,"};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		if (!strstr(after, values[i]))
			fail_msg("%s is not in %s", values[i], after);
	}
	free(after);
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
	    "{\"a\":36893488147419103232}",
	    "{\"a\":-9223372036854775809}",
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
		if (inject("{}", &err) != -1 || strcmp(err.word, "config") != 0)
			fail_msg("%s: %s", texts[i], err.word);
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
	char *after = read_config();
	assert_string_equal(after, "{}");
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
	assert_string_equal(err.word, "bundle");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(err.word, "bundle");
	write_config("{}", 0600);
	assert_int_equal(rename(path, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, path), 0);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(err.word, "bundle");
	unlink(path);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(ftruncate(fd, (off_t)100 << 20), 0);
	close(fd);
	assert_int_equal(inject("{}", &err), -1);
	assert_string_equal(err.word, "bundle");
	assert_non_null(strstr(err.detail, "too large"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(adds_to_what_is_there, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(keeps_all_else, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_cannot_be_kept_is_left_alone, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(only_what_the_policy_wants, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(hostile_bundles, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
