/*
 * hugexecctl check: are these policies right?
 */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "policy/policy.h"

static const char help[] =
    "Usage: hugexecctl check [FILE...]\n"
    "Validate policy files, or without FILE all of the host's policy as hugexec would read it. What is\n"
    "wrong is printed as FILE:LINE:COLUMN: message, the first of each file; nothing else is.\n"
    "\n"
    "Exit status: 0 where all are right, else 1; 2 for wrong usage.\n";

/* FILE: NULL for the host's policy. */
static int check(const char *file)
{
	struct error err = {0};
	struct policy *policy = NULL;
	/* A file named here may be anybody's draft; the host's must be what hugexec will accept. */
	struct policy_sources sources = {.file = file, .require_root_owned = !file && geteuid() == 0};
	if (policy_load(&sources, &policy, NULL, &err) < 0) {
		char shown[sizeof err.detail];
		puts(text_printable(err.detail, shown, sizeof shown));
		return CTL_NO;
	}
	policy_free(policy);
	return CTL_OK;
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
	int result = optind == argc ? check(NULL) : CTL_OK;
	for (int i = optind; i < argc; i++)
		result |= check(argv[i]);
	return result;
}
