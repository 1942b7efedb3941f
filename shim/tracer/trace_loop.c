/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/trace_loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/retry.h"
#include "host/host.h"
#include "ptrace/entry_stop.h"
#include "ptrace/inject.h"
#include "ptrace/syscall_stop.h"
#include "tracer/entry_wait.h"
#include "tracer/exec_event.h"
#include "tracer/library_watch.h"
#include "tracer/process_end.h"

#define EXIT_FAIL 125

#define FORK_OPTIONS (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

static struct followed *find(struct following *following, pid_t pid)
{
	for (size_t i = 0; i < following->count; i++) {
		if (following->list[i].tracee.pid == pid)
			return &following->list[i];
	}
	return NULL;
}

/* Room for those of nearly every launch: a tracer that is out of memory when it is attached could only leave. */
#define FOLLOWED_AT_FIRST 16
static struct followed followed_at_first[FOLLOWED_AT_FIRST];

static struct followed *add(struct following *following, const struct followed *new)
{
	if (following->count == following->capacity) {
		bool is_first = following->list == followed_at_first;
		size_t capacity = following->capacity * 2;
		struct followed *larger = realloc(is_first ? NULL : following->list, capacity * sizeof larger[0]);
		if (!larger)
			return NULL;
		if (is_first)
			memcpy(larger, followed_at_first, sizeof followed_at_first);
		following->list = larger;
		following->capacity = capacity;
	}
	struct followed *followed = &following->list[following->count++];
	*followed = *new;
	return followed;
}

static void forget(struct following *following, struct followed *followed)
{
	entry_stop_drop(&followed->tracee);
	exec_event_drop(followed);
	*followed = following->list[--following->count];
}

/*
 * Wait for the next event of any tracee. Returns its pid; 0 if it is time for something (the deadline, or to look at
 * who is on the way to its entry point, traced or not); -1 if there is nothing left to wait for.
 */
static pid_t next_event(const struct following *following, int *status)
{
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		int64_t look_us = entry_wait_next_us(following);
		int64_t until_us = following->deadline_us;
		until_us = look_us && (!until_us || look_us < until_us) ? look_us : until_us;
		pid_t pid = retry(waitpid(-1, status, __WALL | (until_us ? WNOHANG : 0)));
		if (pid > 0 || !until_us || (pid < 0 && !look_us))
			return pid;
		int64_t left_us = until_us - now_us();
		if (left_us <= 0)
			return 0;
		struct timespec timeout = {(time_t)(left_us / 1000000), (long)(left_us % 1000000 * 1000)};
		sigtimedwait(&child, NULL, &timeout);
	}
}

/* A filter may refuse that: then what they were stays in force. */
static void set_options(struct tracee *tracee, long options)
{
	if (options != tracee->options && ptrace(PTRACE_SETOPTIONS, tracee->pid, 0, options) == 0)
		tracee->options = options;
}

/* FOLLOWED stands still, and is held: SIGKILL ends it at once, whatever we are about. */
static void hold(struct followed *followed)
{
	set_options(&followed->tracee, followed->tracee.options & ~PTRACE_O_TRACEEXIT);
}

/* FOLLOWED will run on. From now on it stops when it ends, and at the events of OPTIONS. */
static void end_hold(struct followed *followed, long options)
{
	followed->tracee.held_until_us = 0;
	set_options(&followed->tracee, followed->tracee.options | PTRACE_O_TRACEEXIT | options);
}

/*
 * Have new threads traced, because any of them may be the one that executes (a Go program's does so where it happens to
 * be), and children if the rule says so; it stays on for all that they start.
 */
static void follow_on(struct following *following, struct followed *followed, const struct settings *settings)
{
	/* Of a wrapper that has us as its child we would stay a zombie: it cannot reap who has no exit signal. */
	bool may_leave = !following->job->follows || !following->job->child_pid;
	if (!following->deadline_us && may_leave)
		following->deadline_us = now_us() + (int64_t)settings->follow_timeout_s * 1000000;
	end_hold(followed, settings->follow == FOLLOW_FORK ? FORK_OPTIONS : PTRACE_O_TRACECLONE);
}

/* At COMMAND's own exec: whether the tracer may go on. */
static bool begins(struct following *following, struct followed *followed)
{
	const struct trace_job *job = following->job;
	if (!followed->is_root)
		return false; /* something that the root has cloned aside */
	following->deadline_us = 0;
	return !job->may_begin || job->may_begin();
}

/*
 * PID has executed, as the main thread that it is now: the thread that did it has lost its own number, and nobody will
 * tell of that one any more.
 */
static struct followed *executed(struct following *following, pid_t pid)
{
	unsigned long former_tid = 0;
	ptrace(PTRACE_GETEVENTMSG, pid, 0, &former_tid);
	struct followed *followed = find(following, pid);
	struct followed *former = (pid_t)former_tid == pid ? NULL : find(following, (pid_t)former_tid);
	if (former && !followed)
		former->tracee.pid = pid;
	else if (former)
		forget(following, former);
	return find(following, pid); /* the list may have moved */
}

static enum next on_exec(struct following *following, pid_t pid)
{
	struct followed *followed = executed(following, pid);
	if (!followed)
		return NEXT_NOTHING;
	followed->tracee.state = TRACEE_IN_EXEC;
	followed->tracee.filter_seen = FILTER_UNSEEN;
	followed->tracee.syscall_insn_addr = 0; /* a new program has its vDSO elsewhere */
	fault_point("exec-stop");
	exec_event_replaced(following, followed);
	entry_stop_drop(&followed->tracee);
	if (followed->stage == FOLLOWED_BEFORE && !begins(following, followed))
		return NEXT_LET_GO;
	followed->stage = FOLLOWED_THROUGH;
	hold(followed);
	struct settings settings;
	enum next next = exec_event_handle(following, followed, &settings);
	if (next == NEXT_RUN_ON)
		follow_on(following, followed, &settings);
	return next;
}

/* FOLLOWED stands at its entry point. */
static enum next on_entry(struct following *following, struct followed *followed)
{
	followed->stage = FOLLOWED_THROUGH;
	hold(followed);
	enum next next = exec_event_at_entry(following, followed);
	if (next == NEXT_RUN_ON)
		end_hold(followed, 0);
	return next;
}

/* End the workload before its first instruction, as the policy's on_error asks. */
static void fail_launch(struct tracee *tracee)
{
	if (tracee->state == TRACEE_STOPPED && inject_begin(tracee, NULL) == 0)
		remote_syscall(tracee, NULL, SYS_exit_group, EXIT_FAIL, 0, 0, 0, 0, 0);
}

/*
 * Let FOLLOWED run its program. An orphan lets the root go by its end, which follows: a detached one could end, too,
 * while we are still there to be seen. The root reaps a tracer that is its child.
 */
static void let_go(const struct following *following, struct followed *followed)
{
	struct tracee *tracee = &followed->tracee;
	if (followed->stage == FOLLOWED_ASIDE || followed->stage == FOLLOWED_BEFORE || !followed->is_root) {
		tracee_detach(tracee);
		return;
	}
	if (!following->job->child_pid || (tracee->state == TRACEE_IN_EXEC && tracee_finish_exec(tracee, NULL) < 0))
		return;
	if (tracee->filter_seen == FILTER_UNSEEN)
		tracee_check_filter(tracee, NULL);
	if (tracee->filter_seen == FILTER_NEW)
		tracee_detach(tracee); /* we stay its zombie, which does not kill it */
	else if (!entry_stop_hand_off(tracee))
		tracee_hand_off(tracee, following->job->child_pid, NULL);
}

/* FOLLOWED is not ours any more. If it is the root, nothing more is to be done: our end lets go of all. */
static void part_with(struct following *following, struct followed *followed)
{
	if (followed->is_root)
		_exit(0);
	forget(following, followed);
}

/*
 * FOLLOWED is not waited for any more. Told first: one that waits for its AT_ENTRY runs on when that is given back, and
 * may end before the report is there.
 */
static void miss(struct following *following, struct followed *followed)
{
	exec_event_missed_entry(followed);
	exec_event_end(following, followed);
	entry_stop_drop(&followed->tracee);
}

/* FOLLOWED has missed its entry point, or a filter refuses to have it run on, and it would stand until we end. */
static void abandon(struct following *following, struct followed *followed, int signal_to_deliver)
{
	pid_t pid = followed->tracee.pid;
	miss(following, followed);
	tracee_detach(&followed->tracee);
	if (signal_to_deliver)
		kill(pid, signal_to_deliver);
	part_with(following, followed);
}

static void run_on(struct following *following, struct followed *followed, int signal_to_deliver)
{
	struct tracee *tracee = &followed->tracee;
	bool watches_calls = followed->stage == FOLLOWED_TO_ENTRY && followed->hint.watches;
	tracee->state = TRACEE_RUNNING;
	if (ptrace(watches_calls ? PTRACE_SYSCALL : PTRACE_CONT, tracee->pid, 0, (long)signal_to_deliver) == 0 ||
	    errno == ESRCH)
		return;
	tracee->state = TRACEE_STOPPED;
	abandon(following, followed, signal_to_deliver);
}

/* FOLLOWED runs, perhaps untraced, and is to stop. A filter may refuse that. */
static void interrupt(struct following *following, struct followed *followed)
{
	struct tracee *tracee = &followed->tracee;
	if (tracee->state == TRACEE_DETACHED && ptrace(PTRACE_SEIZE, tracee->pid, 0, tracee->options) == 0)
		tracee->state = TRACEE_RUNNING;
	if (tracee->state != TRACEE_RUNNING || ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0) < 0)
		abandon(following, followed, 0);
}

/* The only place where it is carried out what becomes of FOLLOWED. */
static void carry_out(struct following *following, struct followed *followed, enum next next, int signal_to_deliver)
{
	switch (next) {
	case NEXT_NOTHING: return;
	case NEXT_RUN_ON: run_on(following, followed, signal_to_deliver); return;
	case NEXT_STAY: ptrace(PTRACE_LISTEN, followed->tracee.pid, 0, 0); return;
	case NEXT_INTERRUPT:
	case NEXT_SEIZE: interrupt(following, followed); return;
	case NEXT_WATCH: tracee_detach(&followed->tracee); return;
	case NEXT_ABANDON: abandon(following, followed, 0); return;
	case NEXT_FAIL:
		fail_launch(&followed->tracee);
		part_with(following, followed);
		return;
	case NEXT_LET_GO:
		if (followed->watch && following->count == 1)
			library_watch_run(&followed->tracee, followed->watch);
		let_go(following, followed);
		part_with(following, followed);
		return;
	}
}

/* It is time to look at some who are on the way to their entry points. */
static void look_at_waiting(struct following *following)
{
	for (size_t i = following->count; i > 0; i--) {
		struct followed *followed = &following->list[i - 1];
		if (followed->stage == FOLLOWED_TO_ENTRY)
			carry_out(following, followed, entry_wait_look(followed), 0);
	}
}

/* Who has started PID, which nobody has told us of yet: a thread of the same process, or the parent. */
static const struct followed *starter_of(struct following *following, pid_t pid)
{
	const struct followed *same = find(following, host_process_of(pid));
	const struct followed *parent = same ? same : find(following, host_parent_of(pid));
	return parent ? parent : &following->list[0];
}

/*
 * A thread or child that the kernel has attached for us: its own first stop and the event of whoever has started it
 * (STARTER; NULL: not known) tell of it, in any order. A child is one to follow if its parent's are. What was cloned
 * without SIGCHLD as its exit signal is told of as threads are, and is none.
 */
static struct followed *adopt(struct following *following, pid_t pid, const struct followed *starter)
{
	struct followed *known = find(following, pid);
	if (known || pid <= 0)
		return known;
	if (!starter)
		starter = starter_of(following, pid);
	const struct tracee *of = &starter->tracee;
	bool is_wanted = (of->options & PTRACE_O_TRACEFORK) || process_has_thread(of->pid, pid);
	struct followed new = {.tracee = {.pid = pid,
	                                  .options = of->options,
	                                  .suspends_seccomp = of->suspends_seccomp,
	                                  .known_filters = of->known_filters,
	                                  .charges_itself = of->charges_itself},
	                       .stage = !is_wanted                            ? FOLLOWED_ASIDE
	                                : starter->stage == FOLLOWED_TO_ENTRY ? FOLLOWED_THROUGH
	                                                                      : starter->stage};
	return add(following, &new);
}

/* Tell of everybody what there is to tell, let them go, and end. */
_Noreturn static void leave(struct following *following)
{
	for (size_t i = 0; i < following->count; i++)
		miss(following, &following->list[i]);
	_exit(0);
}

/*
 * The root ends with TID, one of its threads: what it has started is followed no further, so that its parent does not
 * hear of its end before we are gone. (In exit_notify() the kernel lets go of it after it has taken us out of our
 * cgroup's list, Linux 6.18 read.)
 */
static bool root_ends(const struct following *following, pid_t tid)
{
	return (tid == following->root_pid || process_has_thread(following->root_pid, tid)) &&
	       thread_ends_with_process(following->root_pid, tid);
}

/* A thread ends, and perhaps its process, which still has a standard error to be told why nothing was done. */
static enum next on_exit_event(struct following *following, struct followed *thread)
{
	pid_t tid = thread->tracee.pid;
	if (thread->pending) {
		if (thread_ends_with_process(tid, tid))
			exec_event_end(following, thread);
	} else if (thread_is_in_exit_group(tid)) {
		/* That of its main thread comes later, when this one may be gone. */
		for (size_t i = 0; i < following->count; i++) {
			struct followed *other = &following->list[i];
			if (other->pending && process_has_thread(other->tracee.pid, tid))
				exec_event_end(following, other);
		}
	}
	if (root_ends(following, tid))
		leave(following);
	return NEXT_RUN_ON;
}

/* FOLLOWED stands still for no event of its own: first stops and the ends of group stops (SIGTRAP) are passed over. */
static enum next on_plain_stop(struct following *following, struct followed *followed, int signal)
{
	bool in_group_stop = signal != SIGTRAP;
	if (followed->stage != FOLLOWED_TO_ENTRY)
		return in_group_stop ? NEXT_STAY : NEXT_RUN_ON;
	if (!in_group_stop && entry_stop_take(&followed->tracee))
		return on_entry(following, followed);
	return entry_wait_stopped(followed, in_group_stop);
}

static void on_stop(struct following *following, struct followed *followed, int status)
{
	enum next next = NEXT_RUN_ON;
	int event = status >> 16;
	int signal_to_deliver = 0;
	unsigned long child_pid = 0;
	pid_t pid = followed->tracee.pid;
	if (followed->stage == FOLLOWED_ASIDE) {
		next = NEXT_LET_GO;
	} else if (event == PTRACE_EVENT_EXEC) {
		next = on_exec(following, pid);
	} else if (event == PTRACE_EVENT_EXIT) {
		next = on_exit_event(following, followed);
	} else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
		ptrace(PTRACE_GETEVENTMSG, pid, 0, &child_pid);
		adopt(following, (pid_t)child_pid, followed);
	} else if (event == PTRACE_EVENT_STOP) {
		next = on_plain_stop(following, followed, WSTOPSIG(status));
	} else if (event == 0 && WSTOPSIG(status) == SYSCALL_STOP) {
		if (followed->stage == FOLLOWED_TO_ENTRY)
			map_hint_step(&followed->tracee, &followed->hint);
	} else if (event == 0) {
		signal_to_deliver = WSTOPSIG(status);
	}
	followed = find(following, pid); /* the list may have moved */
	if (followed)
		carry_out(following, followed, next, signal_to_deliver);
}

/* PID has ended. */
static void on_end(struct following *following, pid_t pid)
{
	struct followed *followed = find(following, pid);
	if (followed) {
		exec_event_end(following, followed);
		forget(following, followed);
	}
}

_Noreturn void follow(const struct trace_job *job, const struct tracee *threads, size_t count)
{
	struct following following = {.job = job, .list = followed_at_first, .capacity = FOLLOWED_AT_FIRST};
	for (size_t i = 0; i < count; i++) {
		if (!add(&following, &(struct followed){.tracee = threads[i], .is_root = i == 0}))
			_exit(0);
	}
	following.root_pid = threads[0].pid;
	if (job->exec_timeout_s)
		following.deadline_us = now_us() + (int64_t)job->exec_timeout_s * 1000000;
	while (following.count > 0) {
		int status;
		pid_t pid = next_event(&following, &status);
		if (pid == 0 && (!following.deadline_us || now_us() < following.deadline_us)) {
			look_at_waiting(&following);
			continue;
		}
		if (pid <= 0)
			leave(&following);
		struct followed *followed = WIFSTOPPED(status) ? adopt(&following, pid, NULL) : NULL;
		if (followed)
			on_stop(&following, followed, status);
		else if (WIFSTOPPED(status))
			ptrace(PTRACE_DETACH, pid, 0, 0); /* out of memory */
		else
			on_end(&following, pid);
	}
	_exit(0);
}
