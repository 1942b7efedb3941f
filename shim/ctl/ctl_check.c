/*
 * hugexecctl check: are these policies right?
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/ctl.h"
#include "policy/policy.h"

static const char help[] =
    "Usage: hugexecctl check [FILE...]\n"
    "Validate policy files, or without FILE all of the host's policy as hugexec would read it: each\n"
    "file with its number of rules, and on standard error FILE:LINE:COLUMN: what is wrong, the first\n"
    "of each file.\n"
    "\n"
    "Exit status: 0 where all are right, else 1; 2 for wrong usage.\n";

#define SHOWN_MAX 4096

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

/* FILE: NULL for the host's policy. Without SHOW, nothing is told about the single files. */
static int load(const char *file, policy_observer *show, struct checked *checked, struct error *err)
{
	/* A file named here may be anybody's draft; the host's must be what hugexec will accept. */
	struct policy_sources sources = {
	    .file = file,
	    .require_root_owned = !file && geteuid() == 0,
	    .observe = show,
	    .observe_context = checked,
	};
	struct policy *policy = NULL;
	int result = policy_load(&sources, &policy, NULL, err);
	policy_free(result < 0 ? NULL : policy);
	return result;
}

static void measure_file(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct checked *checked = context;
	(void)rule_count;
	if (!err && strlen(file) > checked->width)
		checked->width = strlen(file);
}

static int check(int count, char **files)
{
	struct checked checked = {0};
	struct error err = {0};
	if (count == 0) {
		load(NULL, measure_file, &checked, NULL);
		/* What is no single file's problem, such as an unreadable directory, is told here. */
		if (load(NULL, show_file, &checked, &err) < 0 && checked.problems++ == 0)
			fprintf(stderr, "%s\n", err.detail);
	}
	for (int i = 0; i < count; i++)
		measure_file(&checked, files[i], 0, NULL);
	for (int i = 0; i < count; i++)
		load(files[i], show_file, &checked, &err);
	return checked.problems ? CTL_NO : CTL_OK;
}

int ctl_check(int argc, char **argv)
{
	static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'h': fputs(help, stdout); return CTL_OK;
		default: fputs("Try 'hugexecctl check --help'.\n", stderr); return CTL_USAGE;
		}
	}
	return check(argc - optind, argv + optind);
}
