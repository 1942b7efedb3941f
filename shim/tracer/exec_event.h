/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_event.h - one followed process at one exec: names, decision, engine, report. What becomes of it is returned, and
 * is the loop's to carry out.
 */
#pragma once

#include "tracer/followed.h"
#include "tracer/trace_job.h"

/*
 * FOLLOWED has just executed (state IN_EXEC). SETTINGS: those in force for it, with "follow" as it is for this program.
 * RUN_ON (as THROUGH, or TO_ENTRY), LET_GO or FAIL; but for RUN_ON all is told.
 */
enum next exec_event_handle(struct following *following, struct followed *followed, struct settings *settings);

/* FOLLOWED has come to its entry point (state STOPPED), and ld.so has mapped its libraries. RUN_ON or LET_GO. */
enum next exec_event_at_entry(struct following *following, struct followed *followed);

/* FOLLOWED, if TO_ENTRY, is seen there no more: that is to be told as the reason why its libraries were left alone. */
void exec_event_missed_entry(struct followed *followed);

/* FOLLOWED has executed another program: report what was done to the one before, if anything was. */
void exec_event_replaced(struct following *following, struct followed *followed);

/* FOLLOWED ends, or is followed no more: report what is pending. */
void exec_event_end(struct following *following, struct followed *followed);

/* Forget what is pending for FOLLOWED, which is TO_ENTRY no more. */
void exec_event_drop(struct followed *followed);
