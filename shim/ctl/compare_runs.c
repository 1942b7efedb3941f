/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/compare_runs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "base/utf8.h"
#include "config.h"
#include "ctl/ctl.h"
#include "ctl/launch_report.h"
#include "ctl/measured_run.h"

#define NOT_STARTED 125 /* hugexec's exit status */
#define OPTIONS_MAX 4
#define WORDS_MAX   (OPTIONS_MAX + 2) /* hugexec, its options, "--" */

static const struct {
	const char *name, *key;
	enum unit unit;
} measured[] = {{"wall", "wall_us", UNIT_TIME},
                {"cpu", "cpu_us", UNIT_TIME},
                {"user", "user_us", UNIT_TIME},
                {"system", "system_us", UNIT_TIME},
                {"page faults", "page_faults", UNIT_COUNT},
                /* With counters only: */
                {"cycles", "cycles", UNIT_COUNT},
                {"instructions", "instructions", UNIT_COUNT},
                {"text walks", "text_walks", UNIT_COUNT}};
#define MEASURES     (sizeof measured / sizeof measured[0])
#define COUNTED_FROM 5

enum side { PLAIN, HUGEXEC, SIDES };

struct compare {
	const struct compare_request *request;
	struct run_request sides[SIDES];
	double *values[SIDES][MEASURES]; /* a value a pair */
	bool has_counters;               /* of all runs */
	int plain_status;                /* of the first plain run, as wait(2) has it */
	const char *report_path;
	struct comparison *out;
};

/* hugexec is looked for beside us, where it was built or installed. */
static const char *find_hugexec(char *buf, size_t buf_bytes)
{
	ssize_t len = readlink("/proc/self/exe", buf, buf_bytes - sizeof "/hugexec");
	char *slash = NULL;
	if (len > 0) {
		buf[len] = '\0';
		slash = strrchr(buf, '/');
	}
	if (slash)
		strcpy(slash, "/hugexec");
	return slash && access(buf, X_OK) == 0 ? buf : HUGEXEC_BINDIR "/hugexec";
}

/* What a run under hugexec executes, in a fresh list (free() it; its words are borrowed, OPTIONS among them). */
static char **hugexec_words(const struct compare_request *request, const char *hugexec, char *options[OPTIONS_MAX])
{
	size_t count = 0, at = 0;
	while (request->command[count])
		count++;
	char **words = calloc(WORDS_MAX + count + 1, sizeof words[0]);
	if (!words)
		return NULL;
	words[at++] = (char *)hugexec;
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		if (options[i])
			words[at++] = options[i];
	}
	words[at++] = (char *)"--";
	memcpy(words + at, request->command, count * sizeof words[0]);
	return words;
}

static int say_failure(const struct compare *compare, enum side side, int status)
{
	char command[256];
	const char *under = side == HUGEXEC ? ", under hugexec," : "";
	text_printable(compare->request->command[0], command, sizeof command);
	if (WIFSIGNALED(status))
		fprintf(stderr, "hugexecctl: %s%s was killed by signal %d (%s)\n", command, under, WTERMSIG(status),
		        strsignal(WTERMSIG(status)));
	else
		fprintf(stderr,
		        "hugexecctl: %s%s ended with status %d; --ignore-failure takes that for its usual end\n",
		        command, under, WEXITSTATUS(status));
	return -1;
}

/*
 * Whether hugexec has not started the command, as "on_error": "fail" asks, after a message: it ends with 125 then, and
 * plain with something else.
 */
static bool is_refused(const struct compare *compare, int status)
{
	char exe[4 * COMPARE_NAME_BYTES], reason[TEXT_LINE_BYTES];
	if (!WIFEXITED(status) || WEXITSTATUS(status) != NOT_STARTED || status == compare->plain_status)
		return false;
	launch_report_read(compare->report_path, compare->out);
	for (size_t i = 0; i < compare->out->reported_count; i++) {
		const struct reported *reported = &compare->out->reported[i];
		if (strcmp(reported->outcome, "failed") != 0)
			continue;
		fprintf(stderr,
		        "hugexecctl: under hugexec %s is not started (status %d), as \"on_error\": \"fail\" asks: %s\n",
		        text_printable(reported->exe, exe, sizeof exe), NOT_STARTED,
		        text_printable(reported->reason, reason, sizeof reason));
		return true;
	}
	return false;
}

static void take_notice(int signal)
{
	(void)signal;
}

/* Whatever else has become our child: what the command leaves behind if we are a subreaper. */
static void reap_others(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static int run_side(const struct compare *compare, enum side side, struct measured_run *out)
{
	char command[256];
	if (run_measured(&compare->sides[side], out) < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n",
		        text_printable(compare->sides[side].words[0], command, sizeof command), strerror(errno));
		return -1;
	}
	reap_others();
	if (side == HUGEXEC && is_refused(compare, out->status))
		return -1;
	bool is_killed = WIFSIGNALED(out->status);
	return is_killed || (out->status && !compare->request->ignores_failure)
	           ? say_failure(compare, side, out->status)
	           : 0;
}

/*
 * Each once, so that files are read and the page cache is prepared, and what the command complains of is seen. Then
 * plain once more: what of its text is on huge pages by itself, half-way through?
 */
static int warm_up(struct compare *compare, struct comparison *out)
{
	struct measured_run run;
	for (int side = 0; side < SIDES; side++) {
		compare->sides[side].shows_errors = side == PLAIN;
		if (run_side(compare, (enum side)side, &run) < 0)
			return -1;
		if (side == PLAIN)
			compare->plain_status = run.status;
		compare->sides[side].shows_errors = false;
	}
	launch_report_read(compare->report_path, out);
	struct run_request *plain = &compare->sides[PLAIN];
	plain->look_at_us = (int64_t)(run.wall_us / 2) + 1;
	int result = run_side(compare, PLAIN, &run);
	plain->look_at_us = 0;
	out->plain_is_known = result == 0 && run.has_text && run.text.count > 0;
	for (size_t i = 0; result == 0 && i < run.text.count; i++) {
		out->plain_text_bytes += run.text.list[i].text_bytes;
		out->plain_huge_bytes += run.text.list[i].huge_bytes;
	}
	text_objects_free(&run.text);
	/* Nothing else of it changes if it uses no other transparent huge pages. */
	out->plain_without_huge = comparison_is_remapped(out) && out->plain_huge_bytes > 0 && run.other_huge_bytes == 0;
	plain->without_huge = out->plain_without_huge;
	return result;
}

static bool toss(void)
{
	unsigned char byte;
	if (getrandom(&byte, sizeof byte, 0) != sizeof byte)
		byte = (unsigned char)random();
	return byte & 1;
}

static void note(struct compare *compare, enum side side, size_t pair, const struct measured_run *run)
{
	const double values[MEASURES] = {run->wall_us,
	                                 run->user_us + run->system_us,
	                                 run->user_us,
	                                 run->system_us,
	                                 run->faults,
	                                 run->counts[COUNT_CYCLES],
	                                 run->counts[COUNT_INSTRUCTIONS],
	                                 run->counts[COUNT_WALKS]};
	compare->has_counters &= run->has_counters;
	for (size_t i = 0; i < MEASURES; i++)
		compare->values[side][i][pair] = values[i];
}

static int run_pairs(struct compare *compare)
{
	struct measured_run run;
	size_t pairs = compare->request->pairs;
	for (size_t pair = 0; pair < pairs; pair++) {
		enum side first = toss() ? HUGEXEC : PLAIN;
		for (int turn = 0; turn < SIDES; turn++) {
			enum side side = turn ? SIDES - 1 - first : first;
			if (run_side(compare, side, &run) < 0)
				return -1;
			note(compare, side, pair, &run);
		}
		if (compare->request->shows_progress)
			fprintf(stderr, "\r%zu of %zu pairs%s", pair + 1, pairs, pair + 1 == pairs ? "\r\033[K" : "");
	}
	return 0;
}

static int compare_values(struct compare *compare, struct comparison *out)
{
	for (size_t i = 0; i < (compare->has_counters ? MEASURES : COUNTED_FROM); i++) {
		struct measure *measure = &out->measures[out->measure_count++];
		*measure = (struct measure){measured[i].name, measured[i].key, measured[i].unit, {0}};
		if (paired_compare(compare->values[PLAIN][i], compare->values[HUGEXEC][i], compare->request->pairs,
		                   &measure->paired) < 0)
			return -1;
	}
	return 0;
}

static int compare_with(struct compare *compare, struct comparison *out)
{
	size_t pairs = compare->request->pairs;
	cleanup_free double *room = calloc(SIDES * MEASURES * pairs, sizeof room[0]);
	if (!room)
		return -1;
	for (size_t i = 0; i < SIDES * MEASURES; i++)
		compare->values[i / MEASURES][i % MEASURES] = room + i * pairs;
	huge_tlb_probe(&out->tlb);
	if (warm_up(compare, out) < 0 || run_pairs(compare) < 0)
		return -1;
	launch_report_read(compare->report_path, out);
	return compare_values(compare, out);
}

int compare_runs(const struct compare_request *request, struct comparison *out)
{
	char hugexec[PATH_MAX], report[] = "/tmp/hugexecctl-compare-XXXXXX";
	char report_option[64], policy_option[PATH_MAX + 16], backing_option[64], coverage_option[64];
	char *options[OPTIONS_MAX] = {report_option};
	*out = (struct comparison){.command = request->command};
	if (request->policy_file) {
		snprintf(policy_option, sizeof policy_option, "--policy=%s", request->policy_file);
		options[1] = policy_option;
	}
	if (request->overrides.backing) {
		snprintf(backing_option, sizeof backing_option, "--backing=%s", request->overrides.backing);
		options[2] = backing_option;
	}
	if (request->overrides.coverage) {
		snprintf(coverage_option, sizeof coverage_option, "--coverage=%s", request->overrides.coverage);
		options[3] = coverage_option;
	}
	cleanup_close int report_fd = mkostemp(report, O_CLOEXEC);
	if (report_fd < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n", report, strerror(errno));
		return -1;
	}
	snprintf(report_option, sizeof report_option, "--report=%s", report);
	cleanup_free char **words = hugexec_words(request, find_hugexec(hugexec, sizeof hugexec), options);
	struct compare compare = {.request = request, .has_counters = true, .report_path = report, .out = out};
	compare.sides[PLAIN].words = request->command;
	compare.sides[HUGEXEC].words = words;
	/* Wrappers are followed only below a parent that takes notice of its children's ends. */
	sigaction(SIGCHLD, &(struct sigaction){.sa_handler = take_notice, .sa_flags = SA_RESTART}, NULL);
	unsetenv("HUGEXEC"); /* "off" would leave nothing to compare */
	int result = words ? compare_with(&compare, out) : -1;
	unlink(report);
	return result;
}
