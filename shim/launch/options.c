/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/say.h"
#include "base/usage.h"
#include "base/version.h"
#include "config.h"
#include "policy/policy.h"

static const char help[] = "Usage: hugexec [OPTIONS] [--] COMMAND [ARG...]\n"
                           "Run COMMAND with its machine code on huge pages, as the policy says. COMMAND\n"
                           "runs in this very process; if a step fails, it runs as if hugexec were\n"
                           "not there.\n"
                           "\n"
                           "  --policy=FILE    read this policy instead of the host's\n"
                           "  --backing=LIST   where huge pages come from, best first, instead of what the\n"
                           "                   rule says: file, hugetlb, thp\n"
                           "  --coverage=WORD  how much of the text, instead of what the rule says: cheap\n"
                           "                   (what costs no memory) or full\n"
                           "  --argv0=NAME     pass NAME as argv[0]\n"
                           "  --report=FILE    append a JSON line about what was done (\"-\": standard error)\n"
                           "  --dry-run        print what would be done; run, write and take nothing\n"
                           "  -v, --verbose    a line on standard error about what was done\n"
                           "  -q, --quiet      nothing on standard error but why COMMAND is not started\n"
                           "  -h, --help       this text\n"
                           "  -V, --version    the version, its commit, and what was built in\n"
                           "\n"
                           "If HUGEXEC in the environment is off, no, false or 0, or if\n"
                           "/run/hugexec/disabled exists, COMMAND is executed at once.\n"
                           "Exit status: COMMAND's; 127 not found, 126 cannot be executed, 125 wrong usage\n"
                           "or the policy's \"on_error\": \"fail\"; with --dry-run a broken policy, too.\n"
                           "\n"
                           "See also hugexecctl(1): check a policy, explain a decision, examine this host.\n";

static enum options_verdict wrong(const char *message)
{
	say_line(STDERR_FILENO, "hugexec: %s\nTry 'hugexec --help'.\n", message);
	return OPTIONS_WRONG;
}

static enum options_verdict check_override(const char *option, const struct overrides *overrides)
{
	struct settings settings = {0};
	struct error err = {0};
	char message[sizeof err.detail + 32];
	if (settings_override(&settings, overrides, &err) == 0)
		return OPTIONS_RUN;
	snprintf(message, sizeof message, "%s: %s", option, err.detail);
	return wrong(message);
}

/* An option may have taken what was meant to be it: "hugexec --policy ls". */
static enum options_verdict lacks_command(int argc, char **argv)
{
	char message[256];
	const char *option = argc > 2 ? argv[argc - 2] : "";
	if (strncmp(option, "--", 2) != 0 || !option[2] || strchr(option, '=') || argv[argc - 1][0] == '-')
		return wrong("no COMMAND given");
	snprintf(message, sizeof message, "no COMMAND given: '%.64s' is the value of %.64s", argv[argc - 1], option);
	return wrong(message);
}

/* A shell's variable that is not set: "hugexec --policy=$POLICY ls". */
static enum options_verdict check_files(const struct options *options)
{
	if (options->policy_file && !options->policy_file[0])
		return wrong("--policy=FILE: the name of the file is empty");
	if (options->report.path && !options->report.path[0])
		return wrong("--report=FILE: the name of the file is empty");
	return OPTIONS_RUN;
}

enum options_verdict options_parse(int argc, char **argv, struct options *out)
{
	enum { POLICY = 256, BACKING, COVERAGE, ARGV0, REPORT, DRY_RUN, VERBOSE, QUIET, HELP, VERSION, LIST_STEPS };
	static const struct option known[] = {
		{"policy", required_argument, NULL, POLICY},
		{"backing", required_argument, NULL, BACKING},
		{"coverage", required_argument, NULL, COVERAGE},
		{"argv0", required_argument, NULL, ARGV0},
		{"report", required_argument, NULL, REPORT},
		{"dry-run", no_argument, NULL, DRY_RUN},
		{"verbose", no_argument, NULL, VERBOSE},
		{"quiet", no_argument, NULL, QUIET},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
#if HUGEXEC_FAULTS
		{"list-steps", no_argument, NULL, LIST_STEPS},
#endif
		{NULL, 0, NULL, 0},
	};
	*out = (struct options){.report.verbosity = VERBOSITY_NORMAL};
	char message[USAGE_BYTES];
	int option;
	/* "+": the first word that is no option is COMMAND, and what follows is its own. */
	while ((option = usage_option(argc, argv, "+hqvV", known, message)) != -1) {
		switch (option) {
		case POLICY: out->policy_file = optarg; break;
		case BACKING:
			out->overrides.backing = optarg;
			if (check_override("--backing=LIST", &out->overrides) != OPTIONS_RUN)
				return OPTIONS_WRONG;
			break;
		case COVERAGE:
			out->overrides.coverage = optarg;
			if (check_override("--coverage=WORD", &out->overrides) != OPTIONS_RUN)
				return OPTIONS_WRONG;
			break;
		case ARGV0: out->argv0 = optarg; break;
		case REPORT: out->report.path = optarg; break;
		case DRY_RUN: out->dry_run = true; break;
		case VERBOSE:
		case 'v': out->report.verbosity = VERBOSITY_VERBOSE; break;
		case QUIET:
		case 'q': out->report.verbosity = VERBOSITY_QUIET; break;
		case HELP:
		case 'h': fputs(help, stdout); return OPTIONS_DONE;
		case VERSION:
		case 'V': version_print("hugexec"); return OPTIONS_DONE;
#if HUGEXEC_FAULTS
		case LIST_STEPS: fault_list(); return OPTIONS_DONE;
#endif
		default: return wrong(message);
		}
	}
	out->command = argv + optind;
	return optind == argc ? lacks_command(argc, argv) : check_files(out);
}
