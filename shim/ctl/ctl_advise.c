/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl advise: should these processes be run under hugexec?
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/retry.h"
#include "base/utf8.h"
#include "ctl/advise_print.h"
#include "ctl/ctl.h"
#include "ctl/measured_run.h"

#define SECONDS_DEFAULT 5.0
#define SECONDS_MAX     3600.0
#define PIDS_MAX        64
#define END_MS          1000 /* between asking a command to end and killing it */

static const char help[] = "Usage: hugexecctl advise [OPTIONS] PID...\n"
                           "       hugexecctl advise [OPTIONS] -- COMMAND [ARG...]\n"
                           "Should it be run under hugexec? Watch the processes PID and their children, or\n"
                           "COMMAND, without stopping them, and compare the text that they touch with what\n"
                           "this processor's TLB holds. If there are hardware counters, they decide; if not,\n"
                           "the instruction pointer is sampled 250 times a second. Watch under usual load.\n"
                           "\n"
                           "  -s, --seconds=N  how long to watch (default: 5). After that, COMMAND is ended.\n"
                           "                   Its output goes to /dev/null\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0, whatever the answer; 1 if there is nothing to watch, or it may\n"
                           "not be watched; 2 for wrong usage.\n";

struct advise {
	double seconds;
	bool json;
	const char *command; /* NULL: none was started */
	pid_t pids[PIDS_MAX];
	size_t pid_count;
};

static void say_why_not(const struct advise *advise, int errnum)
{
	char name[256];
	if (errnum != ESRCH)
		fprintf(stderr,
		        "hugexecctl: perf_event_open(2): %s; run it as root, or set "
		        "kernel.perf_event_paranoid to 2 or less\n",
		        strerror(errnum));
	else if (advise->command)
		fprintf(stderr, "hugexecctl: %s ended before it could be watched: give it more to do\n",
		        text_printable(advise->command, name, sizeof name));
	else
		for (size_t i = 0; i < advise->pid_count; i++)
			ctl_no_process(advise->pids[i]);
}

/* A process with all its text at hand: at once if COMMAND was started here, which must not end before. */
static int watch_and_tell(const struct advise *advise)
{
	static struct watch watch; /* too large for the stack */
	static struct survey survey;
	struct huge_tlb tlb;
	if (watch_run(&watch, advise->pids, advise->pid_count, advise->seconds) < 0) {
		say_why_not(advise, errno);
		return CTL_NO;
	}
	survey_make(&watch, &survey);
	huge_tlb_probe(&tlb);
	if (advise->json)
		advise_print_json(&survey, &watch, &tlb);
	else
		advise_print(&survey, &watch, &tlb);
	watch_free(&watch);
	return CTL_OK;
}

/* SIGTERM, a second, SIGKILL; the command's children are its own business. */
static void end(pid_t pid)
{
	kill(pid, SIGTERM);
	for (int64_t until_ms = now_ms() + END_MS; now_ms() < until_ms; usleep(10000)) {
		if (retry(waitpid(pid, NULL, WNOHANG)) != 0)
			return;
	}
	kill(pid, SIGKILL);
	retry(waitpid(pid, NULL, 0));
}

static int advise_command(struct advise *advise, char *const *words)
{
	struct run_request request = {.words = words, .shows_errors = true};
	struct started_run run;
	char name[256];
	if (run_start(&request, &run) < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n", text_printable(words[0], name, sizeof name), strerror(errno));
		return CTL_NO;
	}
	advise->command = words[0];
	advise->pids[advise->pid_count++] = run.pid;
	if (run_go(&run) < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n", text_printable(words[0], name, sizeof name), strerror(errno));
		retry(waitpid(run.pid, NULL, 0));
		return CTL_NO;
	}
	int result = watch_and_tell(advise);
	end(run.pid);
	return result;
}

static bool parse_seconds(const char *word, double *out)
{
	char *rest;
	double seconds = strtod(word, &rest);
	if (rest == word || *rest || !isfinite(seconds) || seconds < 0.1 || seconds > SECONDS_MAX)
		return false;
	*out = seconds;
	return true;
}

static int add_pid(struct advise *advise, const char *self, const char *word)
{
	pid_t pid = ctl_pid(word);
	if (!pid)
		return ctl_no_pid(self, word);
	if (advise->pid_count == PIDS_MAX)
		return ctl_wrong_usage(self, "more than %d PIDs", PIDS_MAX);
	advise->pids[advise->pid_count++] = pid;
	return CTL_OK;
}

int ctl_advise(int argc, char **argv)
{
	static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct advise advise = {.seconds = SECONDS_DEFAULT};
	int option;
	/* Options may stand behind PIDs, but those behind -- are COMMAND's. */
	while ((option = ctl_option(argc, argv, "-hs:", known)) != -1) {
		switch (option) {
		case 1: /* no option */
			if (add_pid(&advise, argv[0], optarg) != CTL_OK)
				return CTL_USAGE;
			break;
		case 's':
			if (!parse_seconds(optarg, &advise.seconds))
				return ctl_wrong_usage(argv[0], "--seconds takes 0.1 to 3600, not '%s'", optarg);
			break;
		case 'j': advise.json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if ((optind < argc) == (advise.pid_count > 0))
		return ctl_wrong_usage(argv[0], "it takes PIDs, or -- and a COMMAND");
	return optind < argc ? advise_command(&advise, argv + optind) : watch_and_tell(&advise);
}
