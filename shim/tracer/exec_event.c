/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/exec_event.h"

#include <elf.h>
#include <limits.h>
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
#include "ptrace/syscall_stop.h"
#include "remap/remap_program.h"
#include "report/container_state.h"
#include "report/deliver.h"
#include "tracer/entry_wait.h"
#include "tracer/exec_names.h"
#include "tracer/library_watch.h"
#include "tracer/match_input.h"

/* What the policy says of the program that FOLLOWED has just become by NAMES. */
static int decide(const struct following *following, const struct tracee *tracee, const struct exec_names *names,
                  struct gathered_input *store, struct decision *decision, struct error *err)
{
	const struct trace_job *job = following->job;
	const struct match_input given = {
	    .via = job->door->via, .called = names->called, .container = job->container.attrs};
	if (match_input_decide(store, tracee->pid, &given, job->policy, tracee->held_until_us, decision, err) < 0)
		return -1;
	settings_override(&decision->settings, &job->overrides, NULL);
	fault_point("decided");
	return 0;
}

static void report_begin(struct report *report, const struct following *following, pid_t pid, const char *exe)
{
	memset(report, 0, sizeof *report);
	report->pid = pid;
	report->via = following->job->door->via;
	report->container = following->job->container.attrs;
	report->backing = BACKING_NONE;
	report->outcome = OUTCOME_SKIPPED;
	snprintf(report->exe, sizeof report->exe, "%s", exe ? exe : "");
}

/* What the work has left of the time, and a moment at least, so that nobody wonders. */
#define TELL_MIN_MS 100

static void tell(const struct following *following, const struct report *report, const struct followed *followed,
                 bool fails)
{
	const struct trace_job *job = following->job;
	int left_ms = tracee_time_left_ms(&followed->tracee, followed->tell_ms);
	deliver_report(job->report, report, followed->tracee.pid, fails, left_ms > TELL_MIN_MS ? left_ms : TELL_MIN_MS);
	if (job->container.id && report->outcome == OUTCOME_REMAPPED)
		record_write(RECORD_DIRECTORY, job->container.id, following->root_pid, job->container.attrs, NULL);
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
	remap_program(tracee, &decision->settings, report);
	match_input_finish_build_id(store, tracee->held_until_us);
	if (report->object_count > 0)
		snprintf(report->objects[0].build_id, sizeof report->objects[0].build_id, "%s", store->build_id);
}

/* Whether the policy wants the program ended for what REPORT tells. */
static bool must_fail(const struct report *report, const struct settings *settings)
{
	return report->outcome == OUTCOME_FAILED && settings->on_error == ON_ERROR_FAIL;
}

/* The ends of the text of these libraries will stay on small pages, for REASON. */
static void leave_awaited(const struct awaited_libraries *awaited, const struct error *reason, struct report *report)
{
	for (unsigned i = 0; i < awaited->count; i++) {
		for (unsigned j = 0; j < report->object_count; j++) {
			struct report_object *object = &report->objects[j];
			if (!error_is_set(&object->reason) && strcmp(object->path, awaited->list[i].path) == 0)
				object->reason = *reason;
		}
	}
}

/* remap_prepare_libraries(), and what the tracer will wait for when it has let FOLLOWED go. */
static enum libraries_need prepare_libraries(const struct trace_job *job, struct followed *followed,
                                             const struct settings *settings, struct report *report)
{
	struct error reason;
	cleanup_free struct library_watch *watch =
	    settings->coverage == COVERAGE_FULL ? calloc(1, sizeof *watch) : NULL;
	enum libraries_need need =
	    remap_prepare_libraries(&followed->tracee, settings, report, watch ? &watch->libraries : NULL);
	if (!watch || watch->libraries.count == 0)
		return need;
	if (library_watch_check(job, followed, &reason) < 0) {
		leave_awaited(&watch->libraries, &reason, report);
		return need;
	}
	watch->settings = *settings;
	snprintf(watch->exe, sizeof watch->exe, "%s", report->exe);
	snprintf(watch->rule, sizeof watch->rule, "%s", report->rule);
	followed->watch = watch;
	watch = NULL;
	return need;
}

/* If libraries are wanted and ld.so will map some: let it, and come back at the program's entry point. */
static void run_to_entry(const struct trace_job *job, struct followed *followed, const struct settings *settings,
                         struct report *report)
{
	struct tracee *tracee = &followed->tracee;
	if ((!settings->libraries && settings->coverage != COVERAGE_FULL) || tracee->state != TRACEE_STOPPED ||
	    tracee_auxv(tracee, AT_BASE) == 0)
		return;
	if (must_fail(report, settings))
		return; /* before its first instruction */
	enum libraries_need need = prepare_libraries(job, followed, settings, report);
	if (need == LIBRARIES_NEED_NOTHING)
		return;
	struct error reason;
	struct report *pending = malloc(sizeof *pending);
	pid_t zombie_pid = followed->is_root ? job->child_pid : 0;
	if (!pending || entry_stop_set(tracee, zombie_pid, &reason) < 0) {
		if (pending && report->outcome != OUTCOME_FAILED)
			report->reason = reason;
		free(pending);
		return;
	}
	followed->stage = FOLLOWED_TO_ENTRY;
	followed->pending = pending;
	*pending = *report;
	followed->entry_settings = *settings;
	if (settings->backing[0] == BACKING_FILE)
		map_hint_begin(tracee, need == LIBRARIES_NEED_ADDRESSES, &followed->hint);
	entry_wait_begin(followed);
}

/* How long the policy lets TRACEE be held; the engine adds what its text needs. */
static void limit_hold(struct followed *followed, const struct settings *settings)
{
	struct tracee *tracee = &followed->tracee;
	tracee->held_until_us = tracee->held_since_us + (int64_t)settings_hold_ms(settings, 0) * 1000;
	followed->tell_ms = settings->hold_timeout_ms <= INT_MAX ? (int)settings->hold_timeout_ms : INT_MAX;
}

/* FOLLOWED stands still from BEGAN_US on, which is now, and nobody may have it wait for long. */
static void begin_hold(const struct following *following, struct followed *followed, int64_t began_us)
{
	struct settings settings;
	struct tracee *tracee = &followed->tracee;
	int64_t spent_us = followed->is_root ? following->job->spent_us : 0;
	settings_default(&settings);
	tracee->held_since_us = began_us - (int64_t)followed->held_us - spent_us;
	limit_hold(followed, &settings);
}

/* Keep REPORT until it is known whether FOLLOWED executes another program. False if there is no memory for it. */
static bool keep_pending(struct followed *followed, struct report *report)
{
	followed->pending = malloc(sizeof *report);
	if (!followed->pending)
		return false;
	*followed->pending = *report;
	report->objects = NULL;
	report->object_count = 0;
	return true;
}

/* All is done that was to be done at this stop. MAY_FOLLOW: FOLLOWED may become another program. */
static enum next conclude(struct following *following, struct followed *followed, struct report *report,
                          const struct settings *settings, bool may_follow)
{
	const struct error *no_follow = &following->job->no_follow;
	report->latency_us = followed->held_us;
	if (may_follow && !error_is_set(no_follow) && keep_pending(followed, report))
		return NEXT_RUN_ON;
	if (may_follow && error_is_set(no_follow))
		report->reason = *no_follow;
	bool fails = must_fail(report, settings);
	tell(following, report, followed, fails);
	fault_point("reported");
	return fails ? NEXT_FAIL : NEXT_LET_GO;
}

enum next exec_event_at_entry(struct following *following, struct followed *followed)
{
	int64_t began_us = now_us();
	struct report report = *followed->pending;
	struct settings settings = followed->entry_settings;
	begin_hold(following, followed, began_us);
	limit_hold(followed, &settings);
	settings.on_error = ON_ERROR_CONTINUE; /* it has begun: constructors have run */
	free(followed->pending);
	followed->pending = NULL;
	fault_point("library-stop");
	/* A constructor may have set a filter. */
	struct error reason = {0};
	if (tracee_check_filter(&followed->tracee, &reason) == 0)
		remap_libraries(&followed->tracee, &settings, &report);
	else if (report.outcome != OUTCOME_FAILED)
		report.reason = reason;
	followed->held_us += (uint64_t)(now_us() - began_us);
	bool may_follow = settings.follow != FOLLOW_NONE && report.outcome == OUTCOME_SKIPPED &&
	                  followed->tracee.state == TRACEE_STOPPED;
	enum next next = conclude(following, followed, &report, &settings, may_follow);
	report_free(&report);
	return next;
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

/*
 * Do for FOLLOWED what DECISION says; it may be TO_ENTRY then. Returns whether it may be followed to another program;
 * else REPORT is about the one that it has come to.
 */
static bool act(const struct trace_job *job, struct followed *followed, const struct decision *decision,
                bool is_wrapper, struct gathered_input *store, struct report *report)
{
	bool may_follow = decision->settings.follow != FOLLOW_NONE;
	bool looks = decision->action == ACTION_REMAP || decision->action == ACTION_OBSERVE;
	if (looks && is_wrapper) {
		wrapper_reason(decision->settings.follow, &report->reason);
		return may_follow;
	}
	if (decision->action == ACTION_REMAP) {
		remap(job, followed, decision, store, report);
		may_follow &= report->outcome == OUTCOME_SKIPPED && followed->tracee.state == TRACEE_STOPPED;
		run_to_entry(job, followed, &decision->settings, report);
		return may_follow && report->prepared_bytes == 0;
	}
	if (decision->action == ACTION_OBSERVE) {
		remap_observe(followed->tracee.pid, &decision->settings, true, report);
		return may_follow && report->outcome == OUTCOME_SKIPPED && report->reason.code != REASON_OBSERVED;
	}
	policy_skip_reason(decision, &report->reason);
	if (decision->rule_matched)
		return false;
	match_input_blame_user(&report->reason);
	return may_follow;
}

enum next exec_event_handle(struct following *following, struct followed *followed, struct settings *settings)
{
	int64_t began_us = now_us();
	struct gathered_input store;
	struct decision decision = {0};
	struct report report;
	struct exec_names names;
	struct error reason = {0};
	settings_default(&decision.settings);
	begin_hold(following, followed, began_us);

	exec_names_read(&followed->tracee, &names);
	bool is_decided = decide(following, &followed->tracee, &names, &store, &decision, &reason) == 0;
	report_begin(&report, following, followed->tracee.pid, is_decided ? store.exe : NULL);
	limit_hold(followed, &decision.settings);
	bool may_follow = false;
	if (is_decided) {
		policy_rule_label(&decision, report.rule, sizeof report.rule);
		bool is_wrapper = look_at_names(&followed->tracee, store.exe, &names, &decision.settings);
		may_follow = act(following->job, followed, &decision, is_wrapper, &store, &report);
		match_input_free(&store);
	} else {
		report.outcome = OUTCOME_FAILED;
		report.reason = reason;
	}
	*settings = decision.settings;
	followed->held_us += (uint64_t)(now_us() - began_us);
	if (followed->stage == FOLLOWED_TO_ENTRY)
		return NEXT_RUN_ON;
	enum next next = conclude(following, followed, &report, settings, may_follow);
	report_free(&report);
	return next;
}

void exec_event_drop(struct followed *followed)
{
	if (followed->pending)
		report_free(followed->pending);
	free(followed->pending);
	followed->pending = NULL;
	free(followed->watch);
	followed->watch = NULL;
	if (followed->stage == FOLLOWED_TO_ENTRY)
		followed->stage = FOLLOWED_THROUGH; /* nobody waits for it any more */
}

void exec_event_missed_entry(struct followed *followed)
{
	struct report *report = followed->pending;
	if (followed->stage == FOLLOWED_TO_ENTRY && report->outcome != OUTCOME_FAILED)
		error_set(&report->reason, REASON_NO_BREAKPOINT,
		          "its libraries are left alone: process %d was not seen at its entry point",
		          (int)followed->tracee.pid);
}

void exec_event_replaced(struct following *following, struct followed *followed)
{
	/* Of one that was only passed through, as a wrapper is, there is nothing to tell. */
	if (followed->pending && followed->pending->outcome != OUTCOME_SKIPPED)
		exec_event_end(following, followed);
	exec_event_drop(followed);
}

void exec_event_end(struct following *following, struct followed *followed)
{
	if (!followed->pending)
		return;
	followed->pending->latency_us = followed->held_us;
	tell(following, followed->pending, followed, false);
	exec_event_drop(followed);
}
