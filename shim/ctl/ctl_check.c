/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl check: are these policies right?
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/shebang.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "host/users.h"
#include "policy/lint.h"
#include "policy/policy.h"

static const char help[] = "Usage: hugexecctl check [--json] [FILE...]\n"
                           "Validate policy files, or without FILE all of the host's policy as hugexec would\n"
                           "read it. It lists each valid file with its number of rules. Standard error gets\n"
                           "all mistakes of the others, as FILE:LINE:COLUMN: what is wrong, and warnings:\n"
                           "rules that never match, users that this host does not have, settings without\n"
                           "effect.\n"
                           "\n"
                           "If root runs it, check refuses a file that root does not own or that others may\n"
                           "write, as hugexec does. If another user runs it, that is a warning.\n"
                           "\n"
                           "  --json           print JSON, for programs: files, mistakes and warnings\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0 if all are valid, warnings or not, else 1; 2 for wrong usage.\n";

#define SHOWN_MAX    PATH_MAX
#define BEHIND_FILE  12   /* columns */
#define NAME_MOST_MS 2000 /* for the name service to tell of a user */

struct checked {
	size_t width; /* of the column of names */
	size_t problems;
	const char *file;                         /* at hand; NULL: the host's policy */
	json_object *files, *mistakes, *warnings; /* NULL: text is printed */
};

/* Tell TEXT about FILE (NULL: about none) as one of LIST, or in words with PREFIX. */
static void tell(json_object *list, const char *file, const char *prefix, const char *text)
{
	char shown[SHOWN_MAX], shown_file[SHOWN_MAX];
	if (list) {
		json_object *json = json_object_new_object();
		json_object_object_add(json, "file", ctl_text(file));
		json_object_object_add(json, "text", ctl_text(text));
		json_object_array_add(list, json);
		return;
	}
	fflush(stdout);
	/* A mistake begins with its file. */
	bool names_file = file && *prefix;
	fprintf(stderr, "%s%s%s%s\n", names_file ? text_printable(file, shown_file, sizeof shown_file) : "",
	        names_file ? ": " : "", prefix, text_printable(text, shown, sizeof shown));
}

static void show_file(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct checked *checked = context;
	unsigned columns = ctl_columns(stdout), width = (unsigned)checked->width;
	if (err) {
		checked->problems++;
		tell(checked->mistakes, file, "", err->detail);
		return;
	}
	if (checked->files) {
		json_object *json = json_object_new_object();
		json_object_object_add(json, "file", ctl_text(file));
		json_object_object_add(json, "rules", json_object_new_uint64(rule_count));
		json_object_array_add(checked->files, json);
		return;
	}
	ctl_print_cell(file, width < columns - BEHIND_FILE ? width : columns - BEHIND_FILE, true);
	printf("  %4zu %s\n", rule_count, rule_count == 1 ? "rule" : "rules");
}

static void measure_file(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct checked *checked = context;
	(void)rule_count;
	if (!err && strlen(file) > checked->width)
		checked->width = strlen(file);
}

/* What only root refuses, for who is not root. */
static void warn_of_trust(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct checked *checked = context;
	char text[ERROR_TEXT_BYTES + 64];
	(void)rule_count;
	if (!err || err->code != REASON_POLICY_UNTRUSTED)
		return;
	snprintf(text, sizeof text, "hugexec refuses this if root starts it: %s", err->detail);
	tell(checked->warnings, checked->warnings ? file : NULL, "warning: ", text);
}

static void tell_lint(void *context, const char *file, const char *text)
{
	struct checked *checked = context;
	tell(checked->warnings, file ? file : checked->file, "warning: ", text);
}

static bool user_exists(const char *name)
{
	uid_t uid;
	return host_user(name, NAME_MOST_MS, &uid) != 0;
}

static bool may_run(const char *path, char why[LINT_WHY_BYTES])
{
	struct stat st;
	char head[SHEBANG_BYTES + 1] = "";
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	why[0] = '\0';
	if (fd < 0 || fstat(fd, &st) < 0)
		return true;
	if (S_ISDIR(st.st_mode))
		snprintf(why, LINT_WHY_BYTES, "it is a folder; write \"%.180s/*\" for the programs in it", path);
	else if (pread(fd, head, SHEBANG_BYTES, 0) > 0 && shebang_is(head))
		snprintf(why, LINT_WHY_BYTES, "it is a script; name the program that interprets it");
	return !why[0];
}

static int load(const char *file, bool as_root, policy_observer *show, struct checked *checked, struct policy **policy,
                struct error *err)
{
	struct policy_sources sources = {
	    .file = file, .require_root_owned = as_root, .observe = show, .observe_context = checked};
	return policy_load(&sources, policy, NULL, err);
}

/* FILE: NULL for the host's policy. */
static void check_one(const char *file, struct checked *checked)
{
	struct error err = {0};
	struct policy *policy = NULL;
	struct lint_calls calls = {
	    .tell = tell_lint, .context = checked, .user_exists = user_exists, .may_run = may_run};
	bool is_root = geteuid() == 0;
	size_t problems_before = checked->problems;
	checked->file = file;
	if (load(file, is_root, show_file, checked, &policy, &err) < 0) {
		/* What is no single file's problem, such as an unreadable directory, is told here. */
		if (checked->problems == problems_before) {
			checked->problems++;
			tell(checked->mistakes, file, "", err.detail);
		}
		return;
	}
	policy_lint(policy, &calls);
	policy_free(policy);
	if (!is_root && load(file, true, warn_of_trust, checked, &policy, NULL) == 0)
		policy_free(policy);
}

static int check(int count, char **files, bool json)
{
	struct checked checked = {0};
	if (json) {
		checked.files = json_object_new_array();
		checked.mistakes = json_object_new_array();
		checked.warnings = json_object_new_array();
	}
	struct policy *policy;
	if (count == 0) {
		if (load(NULL, geteuid() == 0, measure_file, &checked, &policy, NULL) == 0)
			policy_free(policy);
		check_one(NULL, &checked);
	}
	for (int i = 0; i < count; i++)
		measure_file(&checked, files[i], 0, NULL);
	for (int i = 0; i < count; i++)
		check_one(files[i], &checked);
	if (json) {
		json_object *document = json_object_new_object();
		json_object_object_add(document, "version", json_object_new_int(1));
		json_object_object_add(document, "valid", json_object_new_boolean(checked.problems == 0));
		json_object_object_add(document, "files", checked.files);
		json_object_object_add(document, "mistakes", checked.mistakes);
		json_object_object_add(document, "warnings", checked.warnings);
		ctl_print_json(document);
	}
	return checked.problems ? CTL_NO : CTL_OK;
}

int ctl_check(int argc, char **argv)
{
	static const struct option known[] = {
	    {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool json = false;
	int option;
	while ((option = ctl_option(argc, argv, "h", known)) != -1) {
		switch (option) {
		case 'j': json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	return check(argc - optind, argv + optind, json);
}
