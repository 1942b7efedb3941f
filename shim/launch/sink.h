/*
 * sink.h - where a finished report goes: the report file, the journal, standard error.
 *
 * P and T both end here, and T keeps no file of the workload's: it opens what it needs when it needs it, and
 * borrows the workload's standard error from the workload itself.
 */
#pragma once

#include <sys/types.h>

#include "launch/options.h"
#include "report.h"

/* Called in a process that has the workload's standard error: later it is written to only where it is still that. */
void sink_remember_stderr(void);

/*
 * Deliver REPORT as OPTIONS ask. STDERR_OF: the process whose standard error messages go to; 0: our own.
 * FAILS_LAUNCH: the policy turns this failure into exit status 125, which is always said aloud unless quiet.
 * Never fails: a report that cannot be written must not stop a workload.
 */
void sink_report(const struct options *options, const struct report *report, pid_t stderr_of, bool fails_launch);

/* Whether anybody gets the report as JSON: only that tells build ids, which take a process of their own to read. */
bool sink_tells_build_id(const struct options *options);

/* The report's file, and standard error, opened so that they can be handed on; -1 where there is none. */
int sink_open_report(const struct options *options);
int sink_open_stderr(void);
