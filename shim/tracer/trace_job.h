/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_job.h - what a tracer has to do for one target, whichever door it came through. Only read, once follow() runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"
#include "report/deliver.h"
#include "tracer/door.h"

/* The container that a target is in, if the door is the hook. */
struct job_container {
	const char *id; /* NULL: none. Else a record is left (report/container_state.h) when its program is remapped */
	const struct container_attrs *attrs; /* NULL: none */
};

struct trace_job {
	const struct door *door;
	const struct policy *policy;
	struct overrides overrides; /* in place of the rule's settings */
	const struct report_target *report;
	struct job_container container;
	bool follows;           /* COMMAND is a wrapper or a script, which is followed; else all ends at its exec */
	struct error no_follow; /* why it is not followed although it should be; not set: it is */
	pid_t child_pid;        /* the tracer's own PID, if the target is its parent and reaps it; 0: it is not */
	int64_t spent_us;       /* what has passed of the time for which the target may be held, when it executes */
	/* Of a target that is no relative of the tracer's: until its exec, and whether to go on then. 0, NULL: else. */
	unsigned exec_timeout_s;
	bool (*may_begin)(void); /* asked once; false: the target is let go */
};
