/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_event.h - one followed process at one exec: facts, decision, engine, report, and what becomes of it.
 */
#pragma once

#include "tracer/followed.h"
#include "tracer/trace_job.h"

enum exec_outcome {
	EXEC_DETACHED, /* dealt with and released (or gone); where it is the root the caller must _exit() now */
	EXEC_FOLLOWED, /* nothing done: it may become another program */
};

/* FOLLOWED has just executed (state IN_EXEC). SETTINGS: those in force for it, with "follow" as it is for this program.
 */
enum exec_outcome exec_event_handle(struct following *following, struct followed *followed, struct settings *settings);

/* FOLLOWED has come to its entry point (state STOPPED), and ld.so has mapped its libraries. */
enum exec_outcome exec_event_at_entry(struct following *following, struct followed *followed);

/*
 * FOLLOWED has passed its entry point without a stop: it is let go, with its libraries as they are (state LET_GO or
 * GONE). We are left its zombie where we are its child.
 */
void exec_event_missed_entry(struct following *following, struct followed *followed);

/* FOLLOWED, which ran to its entry point, has executed another program before: report what was done to the first. */
void exec_event_replaced(struct following *following, struct followed *followed);

/* FOLLOWED ends: report why nothing was done. */
void exec_event_end(struct following *following, struct followed *followed);

/* follow_timeout is over: report for all. */
void exec_event_timeout(struct following *following);
