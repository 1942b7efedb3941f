/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading: which files are read, in which order, what hides what, and which are refused. In a directory of its own that
 * stands for the root of a host.
 */
#include "policy_testing.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char root[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/test-policy-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of FILE below the root, its directories made. */
static const char *place(const char *file)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", root, file);
	for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	return path;
}

static void put(const char *file, const char *text)
{
	FILE *stream = fopen(place(file), "w");
	assert_non_null(stream);
	fputs(text, stream);
	assert_int_equal(fclose(stream), 0);
	assert_int_equal(chmod(place(file), 0644), 0);
}

/* A policy of one rule for FILE's own name; MORE: members before "rules", with a comma behind each. */
static void put_rule(const char *file, const char *name, const char *more)
{
	char text[512];
	snprintf(text, sizeof text, "{\"version\":1,%s\"rules\":[{\"name\":\"%s\",\"match\":{\"exe\":\"/%s\"}}]}", more,
	         name, name);
	put(file, text);
}

static struct policy *load(void)
{
	struct policy *policy = NULL;
	struct error err = {0};
	struct policy_sources sources = {.root = root};
	if (policy_load(&sources, &policy, NULL, &err) < 0)
		fail_msg("%s: %s", reason_word(err.code), err.detail);
	return policy;
}

/* Load and fail with WORD, the detail holding PART. Returns what was said of on_error. */
static enum on_error refused(struct policy_sources sources, const char *word, const char *part)
{
	struct policy *policy = NULL;
	struct error err = {0};
	enum on_error on_error = ON_ERROR_CONTINUE;
	if (!sources.file)
		sources.root = root;
	assert_int_equal(policy_load(&sources, &policy, &on_error, &err), -1);
	assert_string_equal(reason_word(err.code), word);
	if (!strstr(err.detail, part))
		fail_msg("'%s' is not in: %s", part, err.detail);
	return on_error;
}

static struct decision about(const struct policy *policy, const char *exe)
{
	struct match_input input = {.via = VIA_SHIM, .exe = exe};
	struct decision decision;
	policy_decide(policy, &input, &decision);
	return decision;
}

static void nothing_there_means_built_in(void **state)
{
	(void)state;
	put("etc/hugexec/README", "no policy");
	put("etc/hugexec/policy.d/note.txt", "neither");
	put("etc/hugexec/policy.d/.hidden.json", "nor this");
	put("etc/hugexec/policy.d/.json", "nor that");
	struct policy *policy = load();
	struct decision decision = about(policy, "/usr/bin/x");
	assert_true(decision.rule_matched);
	assert_int_equal(decision.action, ACTION_REMAP);
	assert_string_equal(decision.rule_file, "built-in policy");
	assert_int_equal(decision.settings.min_text_bytes, 4 << 20);
	const struct annotation asked = {"io.hugexec.remap", "true"}, refused = {"io.hugexec.remap", "false"};
	const struct container_attrs with = {.annotations = &asked, .annotation_count = 1}, none = {0};
	const struct container_attrs without = {.annotations = &refused, .annotation_count = 1};
	assert_true(policy_may_remap_container(policy, &with));
	assert_false(policy_may_remap_container(policy, &without));
	assert_false(policy_may_remap_container(policy, &none));
	policy_free(policy);
}

static void main_file_precedence(void **state)
{
	(void)state;
	put_rule("usr/lib/hugexec/policy.json", "usr", "");
	struct policy *policy = load();
	assert_true(about(policy, "/usr").rule_matched);
	policy_free(policy);
	put_rule("run/hugexec/policy.json", "run", "");
	policy = load();
	assert_true(about(policy, "/run").rule_matched);
	assert_false(about(policy, "/usr").rule_matched);
	policy_free(policy);
	put_rule("etc/hugexec/policy.json", "etc", "");
	policy = load();
	assert_true(about(policy, "/etc").rule_matched);
	assert_false(about(policy, "/run").rule_matched);
	policy_free(policy);
	/* Empty in /etc: hides those below, and the built-in one with them. */
	put("etc/hugexec/policy.json", "");
	policy = load();
	assert_false(about(policy, "/run").rule_matched);
	assert_int_equal(about(policy, "/x").action, ACTION_SKIP);
	policy_free(policy);
}

static void drop_ins_in_name_order(void **state)
{
	(void)state;
	put_rule("etc/hugexec/policy.json", "main", "\"settings\":{\"min_text\":1,\"max_text\":2},");
	put_rule("usr/lib/hugexec/policy.d/10-a.json", "usr10", "");
	put_rule("run/hugexec/policy.d/10-a.json", "run10", "");
	put_rule("run/hugexec/policy.d/20-b.json", "run20", "\"settings\":{\"min_text\":20},\"default\":\"remap\",");
	put_rule("etc/hugexec/policy.d/15-c.json", "etc15", "\"settings\":{\"min_text\":15,\"follow\":\"fork\"},");
	put_rule("usr/lib/hugexec/policy.d/30-d.json", "usr30", "");
	put_rule("etc/hugexec/policy.d/30-d.json", "etc30", "");
	struct policy *policy = load();
	static const char *const order[] = {"/main", "/run10", "/etc15", "/run20", "/etc30"};
	for (size_t i = 0; i < 5; i++) {
		struct decision decision = about(policy, order[i]);
		assert_true(decision.rule_matched);
		assert_int_equal(decision.rule_index, i);
		/* Key by key the last file's, whichever file the rule is from. */
		assert_int_equal(decision.settings.min_text_bytes, 20);
		assert_int_equal(decision.settings.max_text_bytes, 2);
		assert_int_equal(decision.settings.follow, FOLLOW_FORK);
	}
	char expected[128];
	snprintf(expected, sizeof expected, "%s/run/hugexec/policy.d/10-a.json", root);
	assert_string_equal(about(policy, "/run10").rule_file, expected);
	assert_false(about(policy, "/usr10").rule_matched);
	assert_false(about(policy, "/usr30").rule_matched);
	assert_int_equal(about(policy, "/other").action, ACTION_REMAP);
	policy_free(policy);
}

static void drop_ins_alone_replace_the_built_in(void **state)
{
	(void)state;
	put_rule("etc/hugexec/policy.d/a.json", "a", "");
	struct policy *policy = load();
	assert_true(about(policy, "/a").rule_matched);
	assert_false(about(policy, "/other").rule_matched);
	policy_free(policy);
}

static void masks(void **state)
{
	(void)state;
	put_rule("usr/lib/hugexec/policy.d/a.json", "a", "");
	put_rule("usr/lib/hugexec/policy.d/b.json", "b", "");
	put_rule("usr/lib/hugexec/policy.d/c.json", "c", "");
	put("etc/hugexec/policy.d/a.json", "");
	assert_int_equal(symlink("/dev/null", place("run/hugexec/policy.d/b.json")), 0);
	struct policy *policy = load();
	assert_false(about(policy, "/a").rule_matched);
	assert_false(about(policy, "/b").rule_matched);
	assert_true(about(policy, "/c").rule_matched);
	policy_free(policy);
}

static void libraries_lists_do_not_mix(void **state)
{
	(void)state;
	put("etc/hugexec/policy.d/1.json",
	    "{\"version\":1,\"settings\":{\"libraries\":{\"include\":[\"/x\"],\"exclude\":[\"/y\"]}}}");
	put("etc/hugexec/policy.d/2.json", "{\"version\":1,\"settings\":{\"libraries\":{\"exclude\":[\"/z\"]}}}");
	struct policy *policy = load();
	struct settings settings = about(policy, "/a").settings;
	assert_true(settings.libraries);
	assert_null(settings.library_include);
	assert_string_equal(settings.library_exclude[0], "/z");
	policy_free(policy);
}

static void one_broken_file_breaks_all(void **state)
{
	(void)state;
	put_rule("etc/hugexec/policy.json", "main", "");
	put("etc/hugexec/policy.d/1.json", "{\"version\":1,\n \"rulez\":[]}");
	put("etc/hugexec/policy.d/2.json", "{\"version\":1,");
	assert_int_equal(
	    refused((struct policy_sources){0}, "policy-invalid", "policy.d/1.json:2:2: unknown key \"rulez\""),
	    ON_ERROR_CONTINUE);
}

static void on_error_of_a_broken_policy(void **state)
{
	(void)state;
	struct policy_sources host = {0};
	/* From the broken file itself, whatever stands where. */
	put("etc/hugexec/policy.json", "{\"rulez\":[],\"settings\":{\"x\":1,\"on_error\":\"fail\"}}");
	assert_int_equal(refused(host, "policy-invalid", "policy.json:1:2: unknown"), ON_ERROR_FAIL);
	/* From a file behind it, and the last one that says so wins. */
	put("etc/hugexec/policy.json", "{");
	put("etc/hugexec/policy.d/5.json", "{\"version\":1,\"settings\":{\"on_error\":\"fail\"}}");
	assert_int_equal(refused(host, "policy-invalid", "policy.json:1:2"), ON_ERROR_FAIL);
	put("etc/hugexec/policy.d/6.json", "{\"version\":1,\"settings\":{\"on_error\":\"nonsense\"}}");
	assert_int_equal(refused(host, "policy-invalid", "policy.json:1:2"), ON_ERROR_FAIL);
	put("etc/hugexec/policy.d/7.json", "{\"version\":1,\"settings\":{\"on_error\":\"continue\"}}");
	assert_int_equal(refused(host, "policy-invalid", "policy.json:1:2"), ON_ERROR_CONTINUE);
	/* A single rule's "fail" is not the host's. */
	put("etc/hugexec/policy.d/7.json", "{\"version\":1}");
	put("etc/hugexec/policy.d/5.json", "{\"version\":1,\"rules\":[{\"match\":{},\"on_error\":\"fail\"}]}");
	assert_int_equal(refused(host, "policy-invalid", "policy.json:1:2"), ON_ERROR_CONTINUE);
}

static void what_is_no_plain_file(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(place("etc/hugexec/policy.json"), 0600), 0);
	refused((struct policy_sources){0}, "policy-unreadable",
	        "etc/hugexec/policy.json: is a FIFO, not a plain file");
	refused((struct policy_sources){.file = root}, "policy-unreadable", ": is a directory, not a plain file");
	refused((struct policy_sources){.file = "/dev/null"}, "policy-unreadable",
	        "/dev/null: is a device, not a plain file");
	refused((struct policy_sources){.file = place("not/there")}, "policy-unreadable",
	        "there: there is no such file");
	put("empty", "");
	refused((struct policy_sources){.file = place("empty")}, "policy-invalid",
	        "empty:1:1: the JSON ends too early");
	assert_int_equal(unlink(place("etc/hugexec/policy.json")), 0);
	place("etc/hugexec/policy.d/a.json/x");
	refused((struct policy_sources){0}, "policy-unreadable", "a.json: is a directory");
}

static void too_large(void **state)
{
	(void)state;
	put("big", "{\"version\":1}");
	struct policy_sources big = {.file = strdup(place("big"))};
	struct policy *policy = NULL;
	/* Sparse zeros: what is beyond the limit is not even read. */
	assert_int_equal(truncate(big.file, 100 << 20), 0);
	refused(big, "policy-too-large", "big: is larger than 1 MiB");
	put("big", "{\"version\":1}");
	assert_int_equal(policy_load(&big, &policy, NULL, NULL), 0);
	policy_free(policy);
	free((char *)big.file);
}

static void too_many_drop_ins(void **state)
{
	(void)state;
	char name[64];
	for (int i = 0; i <= 1024; i++) {
		snprintf(name, sizeof name, "etc/hugexec/policy.d/%04d.json", i);
		put(name, "{\"version\":1}");
	}
	refused((struct policy_sources){0}, "policy-too-large", "policy.d: more than 1024 drop-ins");
	unlink(place("etc/hugexec/policy.d/0500.json"));
	policy_free(load());
}

static void untrusted(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	put_rule("policy", "a", "");
	char *path = strdup(place("policy"));
	struct policy_sources careful = {.file = path, .require_root_owned = true}, careless = {.file = path};
	struct policy *policy = NULL;
	assert_int_equal(policy_load(&careful, &policy, NULL, NULL), 0);
	policy_free(policy);
	static const mode_t writable[] = {0664, 0646, 0602};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(chmod(path, writable[i]), 0);
		refused(careful, "policy-untrusted", "policy: users other than its owner can write it: chmod go-w it");
		assert_int_equal(policy_load(&careless, &policy, NULL, NULL), 0);
		policy_free(policy);
	}
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chown(path, 1234, 0), 0);
	refused(careful, "policy-untrusted", "policy: UID 1234 owns it, not root: chown root it");
	free(path);
}

struct seen {
	char files[1024];
	size_t rules, errors;
};

static void see(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct seen *seen = context;
	strcat(strcat(seen->files, strrchr(file, '/') ? strrchr(file, '/') : file), " ");
	seen->rules += err ? 0 : rule_count;
	seen->errors += err != NULL;
}

static void every_file_is_told_of(void **state)
{
	(void)state;
	struct seen seen = {0};
	struct policy *policy = NULL;
	struct policy_sources sources = {.root = root, .observe = see, .observe_context = &seen};
	assert_int_equal(policy_load(&sources, &policy, NULL, NULL), 0);
	policy_free(policy);
	assert_string_equal(seen.files, "built-in policy ");
	put_rule("etc/hugexec/policy.json", "a", "");
	put_rule("run/hugexec/policy.d/2.json", "b", "");
	put("etc/hugexec/policy.d/1.json", "{\"version\":3}");
	put("etc/hugexec/policy.d/3.json", "[");
	seen = (struct seen){0};
	assert_int_equal(policy_load(&sources, &policy, NULL, NULL), -1);
	assert_string_equal(seen.files, "/policy.json /1.json /2.json /3.json ");
	assert_int_equal(seen.rules, 2);
	assert_int_equal(seen.errors, 2);
}

static void count_left_out(void *context, const char *mistake)
{
	char *told = context;
	strcat(strcat(told, strrchr(mistake, '/') ? strrchr(mistake, '/') : mistake), "|");
}

/* Whether a rule that is not understood decides, which never ends a program. */
static bool is_left_alone(const struct policy *policy, const struct match_input *input)
{
	struct decision decision;
	struct error reason = {0};
	policy_decide(policy, input, &decision);
	if (decision.action != ACTION_NOT_UNDERSTOOD)
		return false;
	policy_skip_reason(&decision, &reason);
	assert_string_equal(reason_word(reason.code), "rule-unknown");
	assert_non_null(strstr(reason.detail, "policy:1:"));
	assert_int_equal(decision.settings.on_error, ON_ERROR_CONTINUE);
	return true;
}

/* What of a rule is not understood, and what of the programs is left alone then. */
static void rules_that_are_not_understood(void **state)
{
	(void)state;
	static const struct annotation annotation[] = {{"a", "x"}};
	static const struct {
		const char *rule;
		bool keeps_x, keeps_y; /* from the rule behind it, which matches all */
	} cases[] = {
	    {"{\"match\":{\"exe\":\"/x\"},\"level\":3}", true, false},
	    {"{\"level\":3,\"match\":{\"exe\":\"/x\"}}", true, false},
	    {"{\"match\":{\"exe\":\"/x\"},\"action\":\"demote\"}", true, false},
	    {"{\"match\":{\"exe\":\"/x\"},\"backing\":[\"gigantic\"]}", true, false},
	    {"{\"match\":{\"exe\":\"/x\"},\"name\":1}", true, false},
	    {"{\"match\":{\"kind\":1,\"exe\":\"/x\"}}", true, false},
	    {"{\"match\":{\"exe\":\"/x\",\"kind\":1}}", true, false},
	    {"{\"match\":{\"unit\":\"x.service\",\"exe\":[\"/x\",5]}}", true, false},
	    {"{\"match\":{\"user\":7,\"via\":\"door\"}}", true, false},
	    {"{\"match\":{\"annotation\":{\"a\":\"x\",\"b\":7},\"kind\":1}}", true, false},
	    {"{\"match\":{\"exe\":\"/x\",\"share\":100}}", true, false}, /* for lack of a name */
	    {"{\"match\":{\"exe\":[\"/x\",5]}}", true, true},
	    {"{\"match\":{\"kind\":1}}", true, true},
	    {"{\"match\":{\"kind\":1,\"via\":[\"shim\",\"door\"]}}", true, true},
	    {"{\"match\":7}", true, true},
	    {"{}", true, true},
	    {"7", true, true},
	    {"{\"match\":{\"exe\":\"/z\",\"kind\":1}}", false, false},
	};
	const struct container_attrs container = {.annotations = annotation, .annotation_count = 1};
	struct match_input x = {.via = VIA_SHIM, .exe = "/x", .uid = 7, .unit = "x.service", .container = &container};
	struct match_input y = {.via = VIA_SHIM, .exe = "/y", .uid = 8};
	char text[512], told[256];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy *policy = NULL;
		struct policy_sources sources = {.file = place("policy"), .leave_out = true};
		snprintf(text, sizeof text,
		         "{\"version\":1,\"settings\":{\"on_error\":\"fail\"},\"rules\":[%s,{\"match\":{}}]}",
		         cases[i].rule);
		put("policy", text);
		refused((struct policy_sources){.file = place("policy")}, "policy-invalid", ": ");
		place("policy");
		if (policy_load(&sources, &policy, NULL, NULL) < 0)
			fail_msg("refused: %s", text);
		told[0] = '\0';
		assert_int_equal(policy_each_left_out(policy, count_left_out, told), 1);
		if (strncmp(told, "/policy:1:", 10) != 0)
			fail_msg("%s: %s", text, told);
		if (is_left_alone(policy, &x) != cases[i].keeps_x || is_left_alone(policy, &y) != cases[i].keeps_y)
			fail_msg("%s", text);
		assert_int_equal(policy_may_remap(policy, VIA_SHIM), !cases[i].keeps_x || !cases[i].keeps_y);
		policy_free(policy);
	}
}

/* Each place costs a walk through the text, so not all of them are looked up. */
static void many_rules_that_are_not_understood(void **state)
{
	(void)state;
	FILE *stream = fopen(place("policy"), "w");
	assert_non_null(stream);
	fputs("{\"version\":1,\"rules\":[{\"match\":1}", stream);
	for (int i = 0; i < 9999; i++)
		fputs(",\n{\"match\":{\"kind\":1},\"level\":2}", stream);
	fputs("]}", stream);
	fclose(stream);
	struct policy *policy = NULL;
	struct policy_sources sources = {.file = place("policy"), .leave_out = true};
	char *told = calloc(10000, 256);
	assert_int_equal(policy_load(&sources, &policy, NULL, NULL), 0);
	assert_int_equal(policy_each_left_out(policy, count_left_out, told), 10000);
	assert_non_null(strstr(told, "/policy:50:"));
	assert_null(strstr(told, "/policy:51:"));
	assert_non_null(strstr(told, "/policy: hugexecctl check tells"));
	free(told);
	policy_free(policy);
}

#define IN_A_ROOT(function) cmocka_unit_test_setup_teardown(function, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_A_ROOT(nothing_there_means_built_in),
	    IN_A_ROOT(main_file_precedence),
	    IN_A_ROOT(drop_ins_in_name_order),
	    IN_A_ROOT(drop_ins_alone_replace_the_built_in),
	    IN_A_ROOT(masks),
	    IN_A_ROOT(libraries_lists_do_not_mix),
	    IN_A_ROOT(one_broken_file_breaks_all),
	    IN_A_ROOT(on_error_of_a_broken_policy),
	    IN_A_ROOT(what_is_no_plain_file),
	    IN_A_ROOT(too_large),
	    IN_A_ROOT(too_many_drop_ins),
	    IN_A_ROOT(untrusted),
	    IN_A_ROOT(every_file_is_told_of),
	    IN_A_ROOT(rules_that_are_not_understood),
	    IN_A_ROOT(many_rules_that_are_not_understood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
