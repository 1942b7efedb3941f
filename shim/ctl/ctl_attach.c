/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl attach: put the text of processes that run already on huge pages.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/retry.h"
#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/unit.h"
#include "tracer/attach.h"

static const char help[] = "Usage: hugexecctl attach [OPTIONS] PID... | --unit=NAME\n"
                           "Put the text of running processes on huge pages, as the policy says\n"
                           "(\"via\": \"attach\"). The main thread stands while a copy is made, some\n"
                           "milliseconds for each 10 MiB of text. The other threads stand for a millisecond\n"
                           "or two (with hugetlb, one more for each 10 MiB).\n"
                           "\n"
                           "  --policy=FILE    read this policy instead of the host's\n"
                           "  --backing=LIST   in place of the rule's: file, hugetlb, thp\n"
                           "  --coverage=WORD  in place of the rule's: cheap, full\n"
                           "  --unit=NAME      all processes of this systemd unit\n"
                           "  --no-legend      no heading\n"
                           "  --json           a report for each process, as hugexec --report writes it\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "A running program cannot be moved in memory, so 'file' rarely fits: name\n"
                           "hugetlb or thp, too.\n"
                           "\n"
                           "Exit status: 0 if text of every process is on huge pages now, or was\n"
                           "before; 1 if not, or the policy is broken; 2 for wrong usage.\n";

#define PIDS_MAX       4000
#define BEFORE_PROGRAM 67 /* columns */

static void print_attached(const struct attach_result *attached)
{
	const struct report *report = &attached->report;
	unsigned columns = ctl_columns(stdout);
	char text[16], huge[16], why[ERROR_TEXT_BYTES];
	printf("%8d  %10s  %10s  %-7s  %7.1f ms  %7.1f ms  ", (int)report->pid,
	       size_format(report->text_bytes, text, sizeof text), size_format(report->huge_bytes, huge, sizeof huge),
	       report->backing == BACKING_NONE ? "-" : backing_name(report->backing), (double)report->latency_us / 1000,
	       (double)attached->all_held_us / 1000);
	unsigned left = columns > BEFORE_PROGRAM + 10 ? columns - BEFORE_PROGRAM : 10;
	ctl_print_cell(report->exe[0] ? report->exe : "-", left, false);
	ctl_print_reason(10, error_is_set(&report->reason) ? error_text(&report->reason, why, sizeof why) : NULL);
}

static void print_json(const struct report *report)
{
	char *json = report_to_json(report);
	puts(json ? json : "{}");
	free(json);
}

/* In a process of its own, whose end lets go of everything. Returns whether text is on huge pages now. */
static bool attach_one(pid_t pid, const struct policy *policy, const struct overrides *overrides, bool json)
{
	int status;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct attach_result attached;
		attach_run(pid, policy, overrides, &attached);
		if (json)
			print_json(&attached.report);
		else
			print_attached(&attached);
		_exit(fflush(stdout) == 0 && attached.report.outcome == OUTCOME_REMAPPED ? CTL_OK : CTL_NO);
	}
	if (child < 0 || retry(waitpid(child, &status, 0)) < 0) {
		fprintf(stderr, "hugexecctl: %d: %s\n", (int)pid, strerror(errno));
		return false;
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "hugexecctl: %d: the tracer was killed by signal %d\n", (int)pid, WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == CTL_OK;
}

/* What is asked for. */
struct asked {
	const char *policy_file;
	struct overrides overrides;
	bool json, no_legend;
	pid_t pids[PIDS_MAX];
	size_t count;
};

static int attach_all(const struct asked *asked)
{
	struct policy_sources sources = {
	    .file = asked->policy_file, .require_root_owned = geteuid() == 0, .leave_out = true};
	struct policy *policy = NULL;
	struct error err = {0};
	int result = CTL_OK;
	signal(SIGCHLD, SIG_DFL); /* ignored, it would reap what is waited for */
	if (policy_load(&sources, &policy, NULL, &err) < 0) {
		fprintf(stderr, "hugexecctl: %s\n", err.detail);
		return CTL_NO;
	}
	if (!asked->json && !asked->no_legend)
		printf("%8s  %10s  %10s  %-7s  %10s  %10s  %s\n", "PID", "TEXT", "HUGE", "BACKING", "MAIN HELD",
		       "ALL HELD", "PROGRAM");
	for (size_t i = 0; i < asked->count; i++) {
		if (!attach_one(asked->pids[i], policy, &asked->overrides, asked->json))
			result = CTL_NO;
	}
	policy_free(policy);
	return result;
}

/* The processes of WORDS, or of UNIT. Returns CTL_OK, or with a message what else to end with. */
static int find_pids(const char *self, int count, char **words, const char *unit, struct asked *asked)
{
	if (unit && count > 0)
		return ctl_wrong_usage(self, "it takes PIDs or --unit, not both");
	if (unit) {
		asked->count = ctl_pids_of_unit(unit, asked->pids, PIDS_MAX);
		return asked->count ? CTL_OK : ctl_unit_is_idle(unit);
	}
	if (count == 0)
		return ctl_wrong_usage(self, "no PID given");
	if (count > PIDS_MAX)
		return ctl_wrong_usage(self, "it takes at most %d PIDs", PIDS_MAX);
	for (; asked->count < (size_t)count; asked->count++) {
		pid_t pid = ctl_pid(words[asked->count]);
		if (!pid)
			return ctl_no_pid(self, words[asked->count]);
		if (pid == getpid())
			return ctl_wrong_usage(self, "%d is this very process", (int)pid);
		asked->pids[asked->count] = pid;
	}
	return CTL_OK;
}

int ctl_attach(int argc, char **argv)
{
	static const struct option known[] = {
	    {"policy", required_argument, NULL, 'p'},   {"backing", required_argument, NULL, 'b'},
	    {"coverage", required_argument, NULL, 'C'}, {"json", no_argument, NULL, 'j'},
	    {"unit", required_argument, NULL, 'u'},     {"no-legend", no_argument, NULL, 'l'},
	    {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
	struct asked asked = {.json = false};
	char unit[UNIT_NAME_MAX + 1] = "";
	struct settings ignored = {0};
	struct error err = {0};
	for (int option; (option = ctl_option(argc, argv, "h", known)) != -1;) {
		switch (option) {
		case 'p': asked.policy_file = optarg; break;
		case 'b': asked.overrides.backing = optarg; break;
		case 'C': asked.overrides.coverage = optarg; break;
		case 'j': asked.json = true; break;
		case 'l': asked.no_legend = true; break;
		case 'u':
			if (unit_any_name(optarg, unit, &err) < 0)
				return ctl_wrong_usage(argv[0], "%s", err.detail);
			break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (settings_override(&ignored, &asked.overrides, &err) < 0)
		return ctl_wrong_usage(argv[0], "%s", err.detail);
	if (asked.policy_file && !asked.policy_file[0])
		return ctl_wrong_usage(argv[0], "--policy=FILE: the name of the file is empty");
	int found = find_pids(argv[0], argc - optind, argv + optind, *unit ? unit : NULL, &asked);
	return found == CTL_OK ? attach_all(&asked) : found;
}
