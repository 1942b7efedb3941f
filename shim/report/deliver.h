/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deliver.h - where a finished report goes: the report file, standard error, the journal, the counters.
 *
 * Target and tracer both end here. The tracer keeps no file of the workload's but the report's; it borrows the
 * workload's standard error from the workload itself. Nothing here holds the caller for longer than it allows: files
 * are written to by a child, and the journal's socket is not waited for. What could not be written anywhere else is
 * told in the journal's entry.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "report/report.h"

enum verbosity { VERBOSITY_QUIET, VERBOSITY_NORMAL, VERBOSITY_VERBOSE };

/* Where reports go that are written for somebody else: his files, written to with no more than his rights. */
struct delivery {
	int report_fd, stderr_fd; /* -1: none */
	uid_t uid;
	gid_t gid;
};

/* Where the reports of one launch go. */
struct report_target {
	const char *path; /* the file for JSON lines; NULL: none; "-": standard error */
	enum verbosity verbosity;
	const struct delivery *delivery; /* NULL: to our own files (PATH, standard error) */
};

/* How long a report may take to be written if no policy says it and nothing else is short of time. */
#define DELIVER_MS 1500

/*
 * Called in the tracer while it still has the target's files: remember which file standard error is, for later it is
 * written to only if it is still that; and open the report's if it is a file of the target's (/dev/stdout). Returns the
 * one descriptor that is needed later, 3 or higher; -1: none.
 */
int deliver_keep_files(const struct report_target *target);

/*
 * Called in the tracer afterwards, still in the target's folder: open the report's file elsewhere, so that its path
 * means what the target means. If it waits for a disk here, it has nothing of the target's open.
 */
void deliver_keep_report(const struct report_target *target);

/*
 * Deliver REPORT to TARGET. STDERR_OF: the process whose standard error messages go to, and whose end ends all
 * waiting; 0: our own.
 * FAILS_LAUNCH: the policy turns this failure into exit status 125, which is always said aloud.
 * TIMEOUT_MS: how long files may take to be written to, in all.
 * Never fails: a report that cannot be written must not stop a workload.
 */
void deliver_report(const struct report_target *target, const struct report *report, pid_t stderr_of, bool fails_launch,
                    int timeout_ms);

/* Whether anybody gets the report as JSON: only that tells build ids, which take a process of their own to read. */
bool deliver_tells_build_id(const struct report_target *target);

/* The report's file, and standard error, opened so that they can be handed on; -1 with errno if there is none. */
int deliver_open_report(const struct report_target *target);
int deliver_open_stderr(void);
