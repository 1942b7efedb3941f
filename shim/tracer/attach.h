/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h - text on huge pages for a process that runs already.
 *
 * The policy decides as at a start (via "attach"). The main thread is stopped and makes the engine's calls, while the
 * others run on, but when a copy is begun and when it takes the place of the text (stop_threads.h). What differs from a
 * start: the program stays at the addresses that it has, so the backing "file" can serve only if its text happens to
 * agree with the file's slots of 2 MiB; and text that somebody has changed (a debugger's breakpoint, a uprobe, code
 * that patches itself) is left alone.
 *
 * The caller should be a process of its own that ends afterwards: its end lets go of whatever could not be let go
 * before, and if it is killed the workload runs on, but for the moments in which registers are borrowed (tracee.h).
 */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "policy/policy.h"
#include "remap/awaited_library.h"
#include "report/report.h"

/* A process and its program: what is decided about, and must still be there when it has been stopped. */
struct attach_target {
	pid_t pid;
	int pidfd;
	struct stat exe;
};

struct attach_result {
	struct report report; /* its latency: how long the main thread was held */
	uint64_t all_held_us; /* how long all threads were */
};

/*
 * Do for process PID what POLICY says, with BACKING in place of the rule's (NULL: the rule's). OUT tells what
 * came of it (report_free() the report); the journal is told, too. Blocks all signals for good.
 */
void attach_run(pid_t pid, const struct policy *policy, const struct overrides *overrides, struct attach_result *out);

/* Find PID, which the caller holds, and its program. Returns 0, or -1 with ERR; TARGET->pidfd is the caller's. */
int attach_target_find(pid_t pid, struct attach_target *target, struct error *err);

/* Whether TARGET still is what it was. Returns 0, or -1 with ERR word "tracee-gone", or why that cannot be told. */
int attach_target_check(const struct attach_target *target, struct error *err);

/*
 * Do for TARGET's mapping of LIBRARY what SETTINGS, which a launch has found, say. Else as attach_run(). OUT->report
 * has the names of program and rule.
 */
void attach_awaited(const struct attach_target *target, const struct settings *settings,
                    const struct awaited_library *library, struct attach_result *out);
