/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl check: are these policies right?
 */
#include <fcntl.h>
#include <getopt.h>
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

static const char help[] = "Usage: hugexecctl check [FILE...]\n"
                           "Validate policy files, or without FILE all of the host's policy as hugexec would\n"
                           "read it. It lists each valid file with its number of rules. Standard error gets\n"
                           "all mistakes of the others, as FILE:LINE:COLUMN: what is wrong, and warnings:\n"
                           "rules that never match, users that this host does not have, settings without\n"
                           "effect.\n"
                           "\n"
                           "If root runs it, check refuses a file that root does not own or that others may\n"
                           "write, as hugexec does. If another user runs it, that is a warning.\n"
                           "\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0 if all are valid, warnings or not, else 1; 2 for wrong usage.\n";

#define SHOWN_MAX    PATH_MAX
#define NAME_MOST_MS 2000 /* for the name service to tell of a user */

struct checked {
	size_t width; /* of the column of names */
	size_t problems;
};

static void show_file(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct checked *checked = context;
	char shown[SHOWN_MAX];
	if (err) {
		checked->problems++;
		fprintf(stderr, "%s\n", text_printable(err->detail, shown, sizeof shown));
		return;
	}
	text_printable(file, shown, sizeof shown);
	printf("%-*s  %4zu %s\n", (int)checked->width, shown, rule_count, rule_count == 1 ? "rule" : "rules");
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
	char shown[SHOWN_MAX];
	(void)context, (void)file, (void)rule_count;
	if (err && err->code == REASON_POLICY_UNTRUSTED)
		fprintf(stderr, "warning: hugexec refuses this if root starts it: %s\n",
		        text_printable(err->detail, shown, sizeof shown));
}

static void tell_lint(void *context, const char *file, const char *text)
{
	char shown[SHOWN_MAX];
	const char *checked_file = context;
	const char *name = file ? file : checked_file;
	fflush(stdout);
	fprintf(stderr, "%s%swarning: %s\n", name ? text_printable(name, shown, sizeof shown) : "", name ? ": " : "",
	        text);
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
	struct lint_sink sink = {
	    .tell = tell_lint, .context = (void *)(uintptr_t)file, .user_exists = user_exists, .may_run = may_run};
	bool is_root = geteuid() == 0;
	size_t problems_before = checked->problems;
	if (load(file, is_root, show_file, checked, &policy, &err) < 0) {
		/* What is no single file's problem, such as an unreadable directory, is told here. */
		if (checked->problems == problems_before) {
			checked->problems++;
			fprintf(stderr, "%s\n", err.detail);
		}
		return;
	}
	policy_lint(policy, &sink);
	policy_free(policy);
	if (!is_root && load(file, true, warn_of_trust, NULL, &policy, NULL) == 0)
		policy_free(policy);
}

static int check(int count, char **files)
{
	struct checked checked = {0};
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
	return checked.problems ? CTL_NO : CTL_OK;
}

int ctl_check(int argc, char **argv)
{
	static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;
	while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (option) {
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return ctl_wrong_usage(argv[0], NULL);
		}
	}
	return check(argc - optind, argv + optind);
}
