/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measured_run.h - a command, run from start to end, and what it took.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/text_objects.h"
#include "host/perf.h"

struct run_request {
	char *const *words; /* NULL-terminated; looked up as execvp(3) does */
	bool shows_errors;  /* standard error is the caller's; else it goes nowhere, as standard output does */
	bool without_huge;  /* the kernel gives it and its children no transparent huge page (PR_SET_THP_DISABLE) */
	int64_t look_at_us; /* so long after the start TEXT is looked at; 0: never */
};

struct measured_run {
	double wall_us, user_us, system_us;
	double faults;     /* page faults, minor and major */
	bool has_counters; /* user mode, with all threads and children that have ended */
	double counts[PERF_COUNTS];
	int status;                /* as wait(2) has it */
	bool has_text;             /* the process was still there when it was time to look */
	struct text_objects text;  /* of the process that was started itself; text_objects_free() */
	uint64_t other_huge_bytes; /* of its memory that is no text, in transparent huge pages */
};

/* A command that waits to be let go. */
struct started_run {
	pid_t pid;
	int go_fd, errors_fd;
};

/* Returns 0, or -1 with errno. */
int run_start(const struct run_request *request, struct started_run *out);

/*
 * Let it go, and wait until it is the command. Returns 0; -1 with errno if it could not become it: it has ended
 * then. Either way PID is the caller's to reap.
 */
int run_go(struct started_run *run);

/* All of that, to its end. Returns 0, or -1 with errno if the command could not be started. */
int run_measured(const struct run_request *request, struct measured_run *out);
