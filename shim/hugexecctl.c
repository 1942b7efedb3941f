/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl - the operator's view of hugexec: is the policy right, what would happen to this program, what can this
 * host do, what is running; and prepares the host: units, page cache, pool.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/version.h"
#include "config.h"
#include "ctl/ctl.h"
#include "ctl/pool.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
    {"check", ctl_check},     {"explain", ctl_explain}, {"doctor", ctl_doctor}, {"status", ctl_status},
    {"metrics", ctl_metrics}, {"attach", ctl_attach},   {"warm", ctl_warm},     {"enable", ctl_enable},
    {"disable", ctl_disable}, {"list", ctl_list},       {"pool", ctl_pool},     {"compare", ctl_compare},
    {"advise", ctl_advise},
};

static const char help[] = "Usage: hugexecctl VERB [OPTIONS]\n"
                           "Look at what hugexec does and could do on this host, and prepare the host.\n"
                           "\n"
                           "  check [FILE...]    are policies valid? all mistakes: FILE:LINE:COLUMN: message\n"
                           "  explain PROGRAM    the rule that matches it, why, and the plan for it\n"
                           "  doctor             what this host can do, and the setting that would change it\n"
                           "  status [PID]       processes whose text is on huge pages, and how much of it\n"
                           "  metrics            what was done since boot, counted, in OpenMetrics format\n"
                           "  advise PID...      should they be run under hugexec? by the text they touch\n"
                           "  compare COMMAND    run it plain and under hugexec: what does that bring?\n"
                           "  attach PID...      put the text of running processes on huge pages\n"
                           "  warm FILE...       read programs into the page cache in huge pages beforehand\n"
                           "  enable UNIT...     start systemd services through hugexec from now on\n"
                           "  disable UNIT...    start them without hugexec again\n"
                           "  list               enabled services, and what came of their last start\n"
                           "  pool [FILE]        reserve the huge pages that " POOL_CONF " asks for\n"
                           "\n"
                           "  -h, --help         this text; 'hugexecctl VERB --help' has a verb's options\n"
                           "  -V, --version      the version, its commit, and what was built in\n"
                           "\n"
                           "All but metrics, whose format is for programs, take --json.\n"
                           "Exit status: 0; 1 if the answer is no; 2 for wrong usage.\n"
                           "\n"
                           "See also hugexec(1), hugexec-policy(5).\n";

static int unknown_verb(const char *typed)
{
	enum { COUNT = sizeof verbs / sizeof verbs[0] };
	const char *names[COUNT + 1];
	char list[256] = "";
	for (size_t i = 0; i < COUNT; i++) {
		names[i] = verbs[i].name;
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
	}
	names[COUNT] = NULL;
	const char *nearest = nearest_word(typed, names);
	const char *what = typed[0] == '-' ? "option" : "verb";
	if (nearest)
		return ctl_wrong_usage("hugexecctl", "unknown %s '%s', did you mean '%s'?", what, typed, nearest);
	return ctl_wrong_usage("hugexecctl", "unknown %s '%s'; the verbs are %s", what, typed, list);
}

/* Output that could not be written is a failure, however well the rest went. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("hugexecctl: standard output");
	return status == CTL_OK ? CTL_NO : status;
}

int main(int argc, char **argv)
{
	static char ask_for_help[] = "--help";
	setlocale(LC_CTYPE, "");
	if (argc < 2)
		return ctl_wrong_usage("hugexecctl", "no verb given");
	if (argc == 3 && strcmp(argv[1], "help") == 0) { /* "help VERB" is "VERB --help" */
		argv[1] = argv[2];
		argv[2] = ask_for_help;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		fputs(help, stdout);
		return finish(CTL_OK);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		version_print("hugexecctl");
		return finish(CTL_OK);
	}
	/* With a file size limit, what is tried is to fail with EFBIG and not to kill us. */
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		char name[32];
		snprintf(name, sizeof name, "hugexecctl %s", verbs[i].name);
		argv[1] = name;
		return finish(verbs[i].run(argc - 1, argv + 1));
	}
	return unknown_verb(argv[1]);
}
