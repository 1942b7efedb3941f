/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_job.h - what a tracer has to do for one target, whichever door it came through.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"
#include "report/deliver.h"
#include "report/report.h"
#include "tracer/door.h"

struct trace_job {
	const struct policy *policy;
	struct overrides overrides; /* in place of the rule's settings */
	const struct report_target *report;
	bool follows;           /* COMMAND is a wrapper or a script, which is followed; else all ends at its exec */
	bool libraries;         /* COMMAND may run to its entry point before it is let go */
	bool is_interpreted;    /* COMMAND is a script, so what runs first is another program */
	struct error no_follow; /* why it is not followed although it should be; not set: it is */
	pid_t tracer_pid;       /* 0: hugexecd traces P, by a connection that is open until exec closes it */
	bool tracer_is_orphan;  /* T is not P's child; always, if the door says so */
	int64_t began_us;       /* CLOCK_MONOTONIC: P waits for a tracer since then, */
	int64_t hold_until_us;  /* until then at most; 0: P is not ours */
	int64_t spent_us;       /* what of that has passed when P executes COMMAND; T's own */
	struct handshake_memory *shared;
	const struct door *door;
	/* If P is no relative of the tracer's; 0 and NULL else. */
	const struct annotation *annotations; /* of its container */
	size_t annotation_count;
	void (*done)(const struct trace_job *job, const struct report *report); /* after each report */
	unsigned exec_timeout_s;                                                /* until P executes COMMAND */
	bool (*may_begin)(struct trace_job *job); /* asked once, when P has executed COMMAND; false: let it go */
};
