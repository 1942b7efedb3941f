/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/exec_event.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "host/host.h"
#include "ptrace/entry_stop.h"
#include "ptrace/inject.h"
#include "remap/remap_program.h"
#include "report/deliver.h"
#include "tracer/entry_wait.h"
#include "tracer/exec_names.h"
#include "tracer/match_input.h"

#define EXIT_FAIL 125

/* What the policy says of the program that FOLLOWED has just become by NAMES. */
static int decide(const struct following *following, const struct tracee *tracee, const struct exec_names *names,
                  struct gathered_input *store, struct decision *decision, struct error *err)
{
	const struct trace_job *job = following->job;
	const struct match_input given = {.via = job->door->via,
	                                  .called = names->called,
	                                  .annotations = job->annotations,
	                                  .annotation_count = job->annotation_count};
	if (match_input_decide(store, tracee->pid, &given, job->policy, tracee->held_until_us, decision, err) < 0)
		return -1;
	settings_override(&decision->settings, &job->overrides, NULL);
	fault_point("decided");
	return 0;
}

static void report_begin(struct report *report, const struct following *following, pid_t pid, const char *exe,
                         const char *rule)
{
	memset(report, 0, sizeof *report);
	report->pid = pid;
	report->via = following->job->door->via;
	report->backing = BACKING_NONE;
	report->outcome = OUTCOME_SKIPPED;
	snprintf(report->exe, sizeof report->exe, "%s", exe ? exe : "");
	snprintf(report->rule, sizeof report->rule, "%s", rule ? rule : "");
}

/* What the work has left of the time, and a moment at least, so that nobody wonders. */
#define TELL_MIN_MS 100

static void tell(const struct following *following, const struct report *report, const struct tracee *tracee,
                 bool fails)
{
	const struct trace_job *job = following->job;
	int left_ms = tracee_time_left_ms(tracee, DELIVER_MS);
	deliver_report(job->report, report, tracee->pid, fails, left_ms > TELL_MIN_MS ? left_ms : TELL_MIN_MS);
	if (job->done)
		job->done(job, report);
}

/* End the workload before its first instruction, as the policy's on_error asks. */
static void fail_launch(struct tracee *tracee)
{
	if (tracee->state == TRACEE_STOPPED && inject_begin(tracee, NULL) == 0)
		remote_syscall(tracee, NULL, SYS_exit_group, EXIT_FAIL, 0, 0, 0, 0, 0);
}

/* Let FOLLOWED run its program, and be gone. */
static void release(const struct following *following, struct followed *followed)
{
	struct tracee *tracee = &followed->tracee;
	if (!followed->is_root) {
		tracee_detach(tracee);
		return;
	}
	if (following->job->tracer_is_orphan) {
		/* By our end, which follows: a detached one could end, too, while we are still there to be seen. */
		tracee->state = tracee->state == TRACEE_GONE ? TRACEE_GONE : TRACEE_DETACHED;
		return;
	}
	if (tracee->state == TRACEE_IN_EXEC && tracee_finish_exec(tracee, NULL) < 0)
		return;
	if (tracee->filter_seen == FILTER_UNSEEN)
		tracee_check_filter(tracee, NULL);
	if (tracee->filter_seen == FILTER_NEW)
		tracee_detach(tracee); /* we stay its zombie, which does not kill it */
	else
		tracee_hand_off(tracee, following->job->tracer_pid, NULL);
}

static void remember_skip(struct followed *followed, const struct report *report)
{
	free(followed->skipped_exe);
	followed->skipped_exe = strdup(report->exe);
	followed->skipped = report->reason;
	followed->has_skipped = true;
	followed->text_bytes = report->text_bytes;
	memcpy(followed->rule, report->rule, sizeof followed->rule);
}

/* Whether we are under a seccomp filter. Then the kernel is not asked for build IDs: the filter may kill for ioctl(2).
 */
static bool is_filtered(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0;
}

/*
 * Run the engine. Afterwards the tracee is STOPPED or GONE and REPORT is complete. The build id is only for a
 * report in JSON: if nobody gets one, nobody reads it. The kernel tells it, or a reader does beside the work.
 */
static void remap(const struct trace_job *job, struct followed *followed, const struct decision *decision,
                  struct gathered_input *store, struct report *report)
{
	struct tracee *tracee = &followed->tracee;
	if (tracee_finish_exec(tracee, &report->reason) < 0 || tracee_check_filter(tracee, &report->reason) < 0) {
		report->outcome = OUTCOME_FAILED;
		return;
	}
	fault_point("exec-finished");
	/* A wrapper may have gone to another cgroup (cgexec, systemd-run --scope): what we allocate is charged to ours.
	 */
	if (job->follows && !tracee->charges_itself)
		tracee->charges_itself = !host_shares_cgroups(tracee->pid);
	if (deliver_tells_build_id(job->report))
		match_input_begin_build_id(store, tracee->pid, is_filtered() ? 0 : tracee_auxv(tracee, AT_ENTRY));
	engine_run(tracee, &decision->settings, report);
	match_input_finish_build_id(store, tracee->held_until_us);
	if (report->object_count > 0)
		snprintf(report->objects[0].build_id, sizeof report->objects[0].build_id, "%s", store->build_id);
}

/* Whether the policy wants the program ended for what REPORT tells. */
static bool must_fail(const struct report *report, const struct settings *settings)
{
	return report->outcome == OUTCOME_FAILED && settings->on_error == ON_ERROR_FAIL;
}

/* Report, and let FOLLOWED go or end it. */
static void settle(struct following *following, struct followed *followed, struct report *report,
                   const struct settings *settings)
{
	bool fails = must_fail(report, settings);
	report->latency_us = followed->held_us;
	tell(following, report, &followed->tracee, fails);
	fault_point("reported");
	if (fails)
		fail_launch(&followed->tracee);
	else
		release(following, followed);
}

/* Where libraries are wanted and ld.so will map some: let it, and come back at the program's entry point. */
static bool run_to_entry(const struct trace_job *job, struct followed *followed, const struct settings *settings,
                         struct report *report)
{
	struct tracee *tracee = &followed->tracee;
	if ((!settings->libraries && settings->coverage != COVERAGE_FULL) || tracee->state != TRACEE_STOPPED ||
	    tracee_auxv(tracee, AT_BASE) == 0)
		return false;
	if (must_fail(report, settings))
		return false; /* before its first instruction */
	enum libraries_need need = engine_prepare_libraries(tracee, settings, report);
	if (need == LIBRARIES_NEED_NOTHING)
		return false;
	struct error reason;
	struct report *waiting = malloc(sizeof *waiting);
	pid_t zombie_pid = followed->is_root && !job->tracer_is_orphan ? job->tracer_pid : 0;
	if (!waiting || entry_stop_set(tracee, zombie_pid, &reason) < 0) {
		if (waiting && report->outcome != OUTCOME_FAILED)
			report->reason = reason;
		free(waiting);
		return false;
	}
	*waiting = *report;
	followed->waiting = waiting;
	followed->waiting_settings = *settings;
	if (settings->backing[0] == BACKING_FILE)
		map_hint_begin(tracee, need == LIBRARIES_NEED_ADDRESSES, &followed->hint);
	entry_wait_begin(followed);
	return true;
}

/* Whether a tracee stops for us when it ends. */
static void stop_at_exit(struct tracee *tracee, bool stops)
{
	tracee->options = stops ? tracee->options | PTRACE_O_TRACEEXIT : tracee->options & ~PTRACE_O_TRACEEXIT;
	ptrace(PTRACE_SETOPTIONS, tracee->pid, 0, tracee->options);
}

/* How long the policy lets TRACEE be held; the engine adds what its text needs. */
static void limit_hold(struct tracee *tracee, const struct settings *settings)
{
	tracee->held_until_us = tracee->held_since_us + (int64_t)settings_hold_ms(settings, 0) * 1000;
}

/*
 * FOLLOWED stands still from BEGAN_US on, which is now, and nobody may have it wait for long. SIGKILL ends it at once,
 * whatever we are about.
 */
static void begin_hold(const struct following *following, struct followed *followed, int64_t began_us)
{
	struct settings settings;
	struct tracee *tracee = &followed->tracee;
	int64_t spent_us = followed->is_root ? following->job->spent_us : 0;
	settings_default(&settings);
	stop_at_exit(tracee, false);
	tracee->held_since_us = began_us - (int64_t)followed->held_us - spent_us;
	limit_hold(tracee, &settings);
}

/* It will run on, followed. */
static void end_hold(struct followed *followed)
{
	followed->tracee.held_until_us = 0;
	stop_at_exit(&followed->tracee, true);
}

static enum exec_outcome conclude(struct following *following, struct followed *followed, struct report *report,
                                  const struct settings *settings, bool may_follow)
{
	if (may_follow && !error_is_set(&following->job->no_follow)) {
		report->latency_us = followed->held_us;
		remember_skip(followed, report);
		end_hold(followed);
		return EXEC_FOLLOWED;
	}
	if (may_follow)
		report->reason = following->job->no_follow;
	settle(following, followed, report, settings);
	return EXEC_DETACHED;
}

enum exec_outcome exec_event_at_entry(struct following *following, struct followed *followed)
{
	int64_t began_us = now_us();
	struct report *report = followed->waiting;
	struct settings settings = followed->waiting_settings;
	begin_hold(following, followed, began_us);
	limit_hold(&followed->tracee, &settings);
	settings.on_error = ON_ERROR_CONTINUE; /* it has begun: constructors have run */
	followed->waiting = NULL;
	fault_point("library-stop");
	/* A constructor may have set a filter. */
	struct error reason = {0};
	if (tracee_check_filter(&followed->tracee, &reason) == 0)
		engine_run_libraries(&followed->tracee, &settings, report);
	else if (report->outcome != OUTCOME_FAILED)
		report->reason = reason;
	followed->held_us += (uint64_t)(now_us() - began_us);
	bool may_follow = settings.follow != FOLLOW_NONE && report->outcome == OUTCOME_SKIPPED &&
	                  followed->tracee.state == TRACEE_STOPPED;
	enum exec_outcome result = conclude(following, followed, report, &settings, may_follow);
	report_free(report);
	free(report);
	return result;
}

/* How what TRACEE has become, EXE, is followed, into SETTINGS; whether it is a wrapper by its name. */
static bool look_at_names(const struct tracee *tracee, const char *exe, const struct exec_names *called,
                          struct settings *settings)
{
	struct program_names names = {.exe = exe,
	                              .called = called->called[0] ? called->called : NULL,
	                              .is_script = called->is_script,
	                              .is_init = host_is_init(tracee->pid)};
	settings->follow = settings_follow(settings, &names);
	return settings->follow != FOLLOW_NONE && settings_names_wrapper(settings, &names);
}

enum exec_outcome exec_event_handle(struct following *following, struct followed *followed, struct settings *settings)
{
	int64_t began_us = now_us();
	struct gathered_input store;
	struct decision decision = {0};
	struct report report;
	struct exec_names names;
	settings_default(&decision.settings);
	begin_hold(following, followed, began_us);

	exec_names_read(&followed->tracee, &names);
	int decided = decide(following, &followed->tracee, &names, &store, &decision, &report.reason);
	struct error reason = decided < 0 ? report.reason : (struct error){0};
	report_begin(&report, following, followed->tracee.pid, decided < 0 ? NULL : store.exe, NULL);
	if (decided == 0)
		policy_rule_label(&decision, report.rule, sizeof report.rule);
	report.reason = reason;
	*settings = decision.settings;
	limit_hold(&followed->tracee, settings);
	bool is_wrapper = decided == 0 && look_at_names(&followed->tracee, store.exe, &names, settings);
	bool may_follow = settings->follow != FOLLOW_NONE;
	bool run_on = false;

	if (decided < 0) {
		report.outcome = OUTCOME_FAILED;
		may_follow = false;
	} else if (decision.action == ACTION_REMAP && is_wrapper) {
		error_set(&report.reason, REASON_WRAPPER,
		          "it is a wrapper: followed for what it executes, and left alone itself");
	} else if (decision.action == ACTION_REMAP) {
		remap(following->job, followed, &decision, &store, &report);
		may_follow &= report.outcome == OUTCOME_SKIPPED && followed->tracee.state == TRACEE_STOPPED;
		run_on = run_to_entry(following->job, followed, settings, &report);
		may_follow &= report.prepared_bytes == 0;
	} else if (decision.rule_matched) {
		error_set(&report.reason, REASON_RULE_SKIP, "the rule says to leave it alone");
		may_follow = false;
	} else {
		error_set(&report.reason, REASON_NO_RULE, "no rule matches");
		facts_blame_user(&report.reason);
	}
	if (decided == 0)
		match_input_free(&store);
	followed->held_us += (uint64_t)(now_us() - began_us);
	if (run_on) {
		end_hold(followed);
		return EXEC_FOLLOWED;
	}
	enum exec_outcome result = conclude(following, followed, &report, settings, may_follow);
	report_free(&report);
	return result;
}

static void report_skip(struct following *following, struct followed *followed, const struct error *reason,
                        const char *exe)
{
	struct report report;
	report_begin(&report, following, followed->tracee.pid, exe, followed->rule);
	report.reason = *reason;
	report.text_bytes = followed->text_bytes;
	report.latency_us = followed->held_us;
	tell(following, &report, &followed->tracee, false);
	followed->has_skipped = false;
	free(followed->skipped_exe);
	followed->skipped_exe = NULL;
}

static void end_waiting(struct following *following, struct followed *followed, bool tells)
{
	struct report *report = followed->waiting;
	if (!report)
		return;
	if (tells) {
		report->latency_us = followed->held_us;
		tell(following, report, &followed->tracee, false);
	}
	report_free(report);
	free(report);
	followed->waiting = NULL;
}

/* Why its libraries were left alone, if not because nobody waits for them any more. */
static void note_missed(struct followed *followed)
{
	struct report *report = followed->waiting;
	if (report && report->outcome != OUTCOME_FAILED)
		error_set(&report->reason, REASON_NO_BREAKPOINT,
		          "its libraries are left alone: process %d was not seen at its entry point",
		          (int)followed->tracee.pid);
}

void exec_event_missed_entry(struct following *following, struct followed *followed)
{
	/* Told first: one that waits for its AT_ENTRY runs on when that is given back, and may end before the report is
	 * there. */
	note_missed(followed);
	end_waiting(following, followed, true);
	entry_stop_drop(&followed->tracee);
	tracee_detach(&followed->tracee);
}

void exec_event_replaced(struct following *following, struct followed *followed)
{
	/* Of one that was only passed through, as a wrapper is, there is nothing to tell. */
	end_waiting(following, followed, followed->waiting->outcome != OUTCOME_SKIPPED);
}

void exec_event_end(struct following *following, struct followed *followed)
{
	end_waiting(following, followed, true);
	if (followed->has_skipped)
		report_skip(following, followed, &followed->skipped, followed->skipped_exe);
}

void exec_event_timeout(struct following *following)
{
	/* Told before its entry point is given back, for the same reason as above. */
	for (size_t i = 0; i < following->count; i++) {
		note_missed(&following->list[i]);
		exec_event_end(following, &following->list[i]);
		entry_stop_drop(&following->list[i].tracee);
	}
}
