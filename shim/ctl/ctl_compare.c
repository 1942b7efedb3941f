/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl compare: what hugexec brings a command, measured here and now.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/compare_runs.h"
#include "ctl/ctl.h"
#include "ctl/server_compare.h"
#include "policy/policy.h"

#define PAIRS_DEFAULT  20
#define SERVER_SECONDS 30

static const char help[] = "Usage: hugexecctl compare [OPTIONS] [--] COMMAND [ARG...]\n"
                           "       hugexecctl compare --before=FILE [--seconds=N] PID\n"
                           "       hugexecctl compare --after=FILE PID\n"
                           "Run COMMAND plain and under hugexec in turn, and say what that changes and how\n"
                           "sure it is. A coin decides for each pair of runs which goes first. So of 100\n"
                           "comparisons of a command with itself, 99 find no difference, on a busy machine\n"
                           "too. The first runs, one or two of each, do not count. Input and output of\n"
                           "COMMAND are /dev/null; its standard error is shown for the first run.\n"
                           "\n"
                           "  -n, --pairs=N      pairs of runs (default: 20); fewer than 8 give no verdict\n"
                           "  --policy=FILE      hugexec reads this policy instead of the host's\n"
                           "  --backing=LIST     in place of the rule's: file, hugetlb, thp\n"
                           "  --coverage=WORD    in place of the rule's: cheap, full\n"
                           "  --ignore-failure   go on if COMMAND ends with another status than 0\n"
                           "  --before=FILE      measure the server PID and its children, and keep that\n"
                           "  --after=FILE       measure it again, restarted under hugexec, and compare:\n"
                           "                     processor time a second, under the same load\n"
                           "  -s, --seconds=N    how long to measure, 2 to 3600 (default: 30)\n"
                           "  --json             print JSON, for programs\n"
                           "  -h, --help         this text\n"
                           "\n"
                           "Exit status: 0, whatever the answer; 1 if COMMAND could not be run, or failed;\n"
                           "2 for wrong usage.\n";

/* 0: it is no number of pairs. */
static size_t parse_pairs(const char *word)
{
	char *end;
	unsigned long pairs = strtoul(word, &end, 10);
	return *word < '0' || *word > '9' || *end || pairs > PAIRED_MAX ? 0 : pairs;
}

struct server_request {
	const char *before, *after; /* one of the two */
	double seconds;             /* 0: no such number */
};

static double parse_seconds(const char *word)
{
	char *rest;
	double seconds = strtod(word, &rest);
	return *rest == '\0' && seconds >= SERVER_SECONDS_MIN && seconds <= SERVER_SECONDS_MAX ? seconds : 0;
}

static int compare_server(const struct server_request *request, bool json, const char *self, char **words)
{
	pid_t pid = words[0] && !words[1] ? ctl_pid(words[0]) : 0;
	if (!words[0] || words[1] || (request->before && request->after))
		return ctl_wrong_usage(self, "--before and --after take one PID, and only one of the two is given");
	if (!pid)
		return ctl_no_pid(self, words[0]);
	if (request->seconds == 0)
		return ctl_wrong_usage(self, "--seconds takes 2 to 3600");
	int result = request->before ? server_measure_before(pid, request->seconds, request->before)
	                             : server_compare_after(pid, request->after, json);
	return result < 0 ? CTL_NO : CTL_OK;
}

int ctl_compare(int argc, char **argv)
{
	static const struct option known[] = {{"pairs", required_argument, NULL, 'n'},
	                                      {"policy", required_argument, NULL, 'p'},
	                                      {"backing", required_argument, NULL, 'b'},
	                                      {"coverage", required_argument, NULL, 'C'},
	                                      {"before", required_argument, NULL, 'B'},
	                                      {"after", required_argument, NULL, 'A'},
	                                      {"seconds", required_argument, NULL, 's'},
	                                      {"ignore-failure", no_argument, NULL, 'i'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct compare_request request = {.pairs = PAIRS_DEFAULT, .shows_progress = isatty(STDERR_FILENO)};
	struct settings ignored = {0};
	struct error err = {0};
	struct server_request server = {.seconds = SERVER_SECONDS};
	bool json = false;
	int option;
	while ((option = ctl_option(argc, argv, "+hn:s:", known)) != -1) {
		switch (option) {
		case 'n':
			request.pairs = parse_pairs(optarg);
			if (!request.pairs)
				return ctl_wrong_usage(argv[0], "-n takes a number from 1 to %d, not '%s'", PAIRED_MAX,
				                       optarg);
			break;
		case 'p': request.policy_file = optarg; break;
		case 'b': request.overrides.backing = optarg; break;
		case 'C': request.overrides.coverage = optarg; break;
		case 'B': server.before = optarg; break;
		case 'A': server.after = optarg; break;
		case 's': server.seconds = parse_seconds(optarg); break;
		case 'i': request.ignores_failure = true; break;
		case 'j': json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (settings_override(&ignored, &request.overrides, &err) < 0)
		return ctl_wrong_usage(argv[0], "%s", err.detail);
	if (server.before || server.after)
		return compare_server(&server, json, argv[0], argv + optind);
	if (optind == argc)
		return ctl_wrong_usage(argv[0], "it takes a COMMAND");
	if (request.policy_file && !request.policy_file[0])
		return ctl_wrong_usage(argv[0], "--policy=FILE: the name of the file is empty");
	request.command = argv + optind;
	static struct comparison comparison; /* too large for the stack */
	if (compare_runs(&request, &comparison) < 0)
		return CTL_NO;
	if (json)
		comparison_print_json(&comparison);
	else
		comparison_print(&comparison);
	return CTL_OK;
}
