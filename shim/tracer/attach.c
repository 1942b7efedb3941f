/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/attach.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/pidfd.h"
#include "base/proc.h"
#include "ptrace/rseq.h"
#include "ptrace/stop_threads.h"
#include "remap/remap_program.h"
#include "report/deliver.h"
#include "tracer/door.h"
#include "tracer/match_input.h"

/* For the main thread to stand still: the kernel may not let go of it. */
#define MAIN_MS 500

/* Which file PID runs. */
static int stat_exe(pid_t pid, struct stat *st, struct error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	if (stat(path, st) == 0)
		return 0;
	if (errno == ENOENT && kill(pid, 0) == 0)
		return error_set(
		    err, REASON_NO_TEXT,
		    "process %d runs no program: it is a kernel thread, or it (or its main thread) has ended",
		    (int)pid);
	if (errno == ENOENT || errno == ESRCH)
		return error_set(err, REASON_TRACEE_GONE, NO_PROCESS, (int)pid);
	/* Who may not trace it may not know what it runs. */
	return error_set_errno(err, errno, errno == EACCES || errno == EPERM ? REASON_PTRACE_REFUSED : REASON_NO_PROC,
	                       "%s", path);
}

int attach_target_find(pid_t pid, struct attach_target *target, struct error *err)
{
	*target = (struct attach_target){.pid = pid, .pidfd = pidfd_of(pid)};
	if (target->pidfd < 0 && errno == ESRCH)
		return error_set(err, REASON_TRACEE_GONE, NO_PROCESS, (int)pid);
	if (target->pidfd < 0)
		return error_set_errno(err, errno, REASON_TRACEE_GONE, "process %d", (int)pid);
	if (tracee_check_proc(err) < 0)
		return -1;
	return stat_exe(pid, &target->exe, err);
}

int attach_target_check(const struct attach_target *target, struct error *err)
{
	struct stat now;
	if (pidfd_has_ended(target->pidfd))
		return error_set(err, REASON_TRACEE_GONE, NO_PROCESS, (int)target->pid);
	if (stat_exe(target->pid, &now, err) < 0)
		return -1;
	if (now.st_dev != target->exe.st_dev || now.st_ino != target->exe.st_ino)
		return error_set(err, REASON_TRACEE_GONE, "process %d executed another program meanwhile",
		                 (int)target->pid);
	return 0;
}

/* What SETTINGS say of TARGET; of LIBRARY alone, if it is not NULL. */
static void remap_attached(const struct attach_target *target, const struct settings *settings,
                           const struct awaited_library *library, struct attach_result *out)
{
	pid_t pid = target->pid;
	struct running_process process;
	struct report *report = &out->report;
	int64_t began_us = now_us();
	if (!ARCH_ATTACHES) {
		error_set(&report->reason, REASON_ATTACH_UNSUPPORTED,
		          "a program that runs is left alone on " ARCH_NAME "; start it through hugexec");
		return;
	}
	if (running_process_seize(pid, MAIN_MS, &process, &report->reason) < 0)
		return;
	door_prepare(&doors[DOOR_ATTACH], &process.main);
	process.main.held_since_us = began_us;
	fault_point("attached");
	/* With the main thread stopped: is this what was decided about? */
	bool may_begin = attach_target_check(target, &report->reason) == 0 &&
	                 tracee_check_filter(&process.main, &report->reason) == 0 &&
	                 tracee_check_dispatch(pid, &report->reason) == 0;
	if (may_begin && library)
		remap_awaited(&process.main, settings, library, report);
	else if (may_begin)
		remap_running(&process.main, settings, report);
	running_process_release(&process);
	report->latency_us = (uint64_t)(now_us() - began_us);
	out->all_held_us = process.held_us;
}

static int decide(pid_t pid, const struct policy *policy, const struct overrides *overrides,
                  struct gathered_input *store, struct decision *decision, struct report *report)
{
	const struct match_input given = {.via = doors[DOOR_ATTACH].via};
	if (match_input_decide(store, pid, &given, policy, INT64_MAX, decision, &report->reason) < 0)
		return -1;
	settings_override(&decision->settings, overrides, NULL);
	snprintf(report->exe, sizeof report->exe, "%s", store->exe);
	policy_rule_label(decision, report->rule, sizeof report->rule);
	match_input_free(store);
	if (decision->action == ACTION_REMAP)
		return 0;
	if (decision->action == ACTION_OBSERVE) {
		remap_observe(pid, &decision->settings, false, report);
		return -1;
	}
	report->outcome = OUTCOME_SKIPPED;
	policy_skip_reason(decision, &report->reason);
	if (!decision->rule_matched)
		match_input_blame_user(&report->reason);
	return -1;
}

/* The journal is always told; who asked reads what came of it in OUT. */
static const struct report_target to_journal_only = {.verbosity = VERBOSITY_QUIET};

void attach_run(pid_t pid, const struct policy *policy, const struct overrides *overrides, struct attach_result *out)
{
	struct attach_target target;
	struct gathered_input store;
	struct decision decision = {0};
	struct report *report = &out->report;
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	*out = (struct attach_result){
	    .report = {.pid = pid, .via = doors[DOOR_ATTACH].via, .outcome = OUTCOME_FAILED, .backing = BACKING_NONE}};
	settings_default(&decision.settings);
	if (attach_target_find(pid, &target, &report->reason) == 0 &&
	    decide(pid, policy, overrides, &store, &decision, report) == 0)
		remap_attached(&target, &decision.settings, NULL, out);
	if (target.pidfd >= 0)
		close(target.pidfd);
	deliver_report(&to_journal_only, report, 0, false, DELIVER_MS);
}

void attach_awaited(const struct attach_target *target, const struct settings *settings,
                    const struct awaited_library *library, struct attach_result *out)
{
	struct report *report = &out->report;
	report->via = doors[DOOR_ATTACH].via;
	report->outcome = OUTCOME_FAILED;
	report->backing = BACKING_NONE;
	remap_attached(target, settings, library, out);
	deliver_report(&to_journal_only, report, 0, false, DELIVER_MS);
}
