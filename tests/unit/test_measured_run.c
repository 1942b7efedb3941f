/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that is run and measured, on a machine with counters and on one without; the perf layer is the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ctl/measured_run.h"

static int open_error; /* 0: this machine has counters */
static pid_t counted_pid;
static unsigned open_count;

int perf_counters_open(pid_t tid, const struct itlb_events *events, bool is_tree, struct perf_counters *out)
{
	(void)events;
	(void)out;
	assert_true(is_tree); /* what the command starts is of the command */
	counted_pid = tid;
	errno = open_error;
	open_count += !open_error;
	return open_error ? -1 : 0;
}

void perf_counters_add(const struct perf_counters *counters, double counts[PERF_COUNTS])
{
	(void)counters;
	assert_int_equal(waitpid(counted_pid, NULL, WNOHANG), -1); /* all of it: it has ended and is reaped */
	counts[COUNT_CYCLES] += 3000;
	counts[COUNT_WALKS] += 7;
}

void perf_counters_close(struct perf_counters *counters)
{
	(void)counters;
	open_count--;
}

static char command_name[] = "true", no_command_name[] = "/no/such/command";
static char *const command[] = {command_name, NULL}, *const no_command[] = {no_command_name, NULL};

static void with_counters_they_are_counted(void **state)
{
	(void)state;
	struct measured_run run;
	struct run_request request = {.words = command};
	open_error = 0;
	assert_int_equal(run_measured(&request, &run), 0);
	assert_true(run.has_counters && run.status == 0 && run.wall_us > 0);
	assert_true(run.counts[COUNT_CYCLES] == 3000 && run.counts[COUNT_WALKS] == 7);
	assert_int_equal(open_count, 0);
	request.words = no_command;
	assert_int_equal(run_measured(&request, &run), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(open_count, 0);
}

static void without_it_is_measured_all_the_same(void **state)
{
	(void)state;
	struct measured_run run;
	struct run_request request = {.words = command};
	open_error = ENOENT;
	assert_int_equal(run_measured(&request, &run), 0);
	assert_true(!run.has_counters && run.status == 0 && run.wall_us > 0 && run.counts[COUNT_CYCLES] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(with_counters_they_are_counted),
	    cmocka_unit_test(without_it_is_measured_all_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
