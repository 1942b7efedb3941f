/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/trace_loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/retry.h"
#include "host/host.h"
#include "ptrace/entry_stop.h"
#include "tracer/entry_wait.h"
#include "tracer/exec_event.h"

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
	free(followed->skipped_exe);
	*followed = following->list[--following->count];
}

/* What becomes of a stopped tracee. */
enum next {
	NEXT_RUN_ON,
	NEXT_STAY,    /* in its group stop, until somebody continues it */
	NEXT_LET_GO,  /* it was released, or is gone: nothing more is to be done with it */
	NEXT_NOTHING, /* it runs already */
};

/*
 * Wait for the next event of any tracee. Returns its pid; 0 where it is time for something (the deadline, or to look at
 * who is on the way to its entry point, traced or not); -1 where there is nothing left to wait for.
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

/*
 * Have new threads traced, because any of them may be the one that executes (a Go program's does so where it happens to
 * be), and children where the rule says so; it stays on for all that they start.
 */
static void apply_follow_setting(struct following *following, struct followed *followed,
                                 const struct settings *settings)
{
	/* Of a wrapper that has us as its child we would stay a zombie: it cannot reap who has no exit signal. */
	bool may_leave = !following->job->follows || following->job->tracer_is_orphan;
	if (!following->deadline_us && may_leave)
		following->deadline_us = now_us() + (int64_t)settings->follow_timeout_s * 1000000;
	long wanted = followed->tracee.options | (settings->follow == FOLLOW_FORK ? FORK_OPTIONS : PTRACE_O_TRACECLONE);
	if (wanted == followed->tracee.options)
		return;
	if (ptrace(PTRACE_SETOPTIONS, followed->tracee.pid, 0, wanted) == 0)
		followed->tracee.options = wanted;
}

/* At COMMAND's own exec: whether the tracer may go on. */
static bool begins(struct following *following, struct followed *followed)
{
	struct trace_job *job = following->job;
	if (!followed->is_root)
		return false; /* something that the root has cloned aside */
	following->deadline_us = 0;
	return !job->may_begin || job->may_begin(job);
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
	if (followed->waiting) {
		exec_event_replaced(following, followed);
		entry_stop_drop(&followed->tracee);
	}
	if (followed->stage == FOLLOWED_BEFORE && !begins(following, followed)) {
		tracee_detach(&followed->tracee);
		return NEXT_LET_GO;
	}
	followed->stage = FOLLOWED_THROUGH;
	struct settings settings;
	if (exec_event_handle(following, followed, &settings) == EXEC_DETACHED)
		return NEXT_LET_GO;
	apply_follow_setting(following, followed, &settings);
	return NEXT_RUN_ON;
}

/* FOLLOWED is on the way to its entry point, and was looked at. */
static enum next on_the_way(struct following *following, struct followed *followed, enum entry_wait where)
{
	if (where == ENTRY_MISSED) {
		exec_event_missed_entry(following, followed);
		return NEXT_LET_GO;
	}
	if (where == ENTRY_REACHED && exec_event_at_entry(following, followed) == EXEC_DETACHED)
		return NEXT_LET_GO;
	return followed->tracee.state == TRACEE_DETACHED ? NEXT_NOTHING : NEXT_RUN_ON;
}

/* A filter refuses to have FOLLOWED run on: it would stand until we end, so it is let go at once. */
static void let_go_of_standing(struct following *following, struct followed *followed, int signal_to_deliver)
{
	pid_t pid = followed->tracee.pid;
	bool is_root = followed->is_root;
	followed->tracee.state = TRACEE_STOPPED;
	if (followed->waiting) {
		exec_event_missed_entry(following, followed);
	} else {
		exec_event_end(following, followed);
		tracee_detach(&followed->tracee);
	}
	if (signal_to_deliver)
		kill(pid, signal_to_deliver);
	if (is_root)
		_exit(0);
	forget(following, followed);
}

/*
 * The only place where it is carried out what becomes of FOLLOWED. Where the root was let go that happens only now, by
 * our end.
 */
static void carry_out(struct following *following, struct followed *followed, enum next next, int signal_to_deliver)
{
	bool watches_calls = followed->waiting && followed->hint.watches;
	switch (next) {
	case NEXT_NOTHING: return;
	case NEXT_STAY: ptrace(PTRACE_LISTEN, followed->tracee.pid, 0, 0); return;
	case NEXT_RUN_ON:
		followed->tracee.state = TRACEE_RUNNING;
		if (ptrace(watches_calls ? PTRACE_SYSCALL : PTRACE_CONT, followed->tracee.pid, 0,
		           (long)signal_to_deliver) < 0 &&
		    errno != ESRCH)
			let_go_of_standing(following, followed, signal_to_deliver);
		return;
	case NEXT_LET_GO:
		if (followed->is_root)
			_exit(0);
		forget(following, followed);
		return;
	}
}

/* It is time to look at some who are on the way to their entry points. */
static void look_at_waiting(struct following *following)
{
	for (size_t i = following->count; i > 0; i--) {
		struct followed *followed = &following->list[i - 1];
		if (followed->waiting && entry_wait_look(followed) == ENTRY_MISSED)
			carry_out(following, followed, on_the_way(following, followed, ENTRY_MISSED), 0);
	}
}

static bool is_thread_of(pid_t pid, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)tid);
	return access(path, F_OK) == 0;
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
 * (STARTER; NULL: not known) tell of it, in any order. A child is one to follow where its parent's are. What was cloned
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
	bool is_wanted = (of->options & PTRACE_O_TRACEFORK) || is_thread_of(of->pid, pid);
	struct followed new = {.tracee = {.pid = pid,
	                                  .options = of->options,
	                                  .suspends_seccomp = of->suspends_seccomp,
	                                  .known_filters = of->known_filters,
	                                  .charges_itself = of->charges_itself},
	                       .stage = is_wanted ? starter->stage : FOLLOWED_ASIDE};
	return add(following, &new);
}

/* Whether the thread TID, stopped, is in exit_group(2). */
static bool is_in_exit_group(pid_t tid)
{
	char path[64];
	cleanup_free char *call = NULL;
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)tid);
	return read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &call, NULL) == 0 &&
	       strtoull(call, NULL, 10) == SYS_exit_group;
}

static bool any_thread_is_in_exit_group(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	bool found = false;
	for (struct dirent *entry; tasks && !found && (entry = readdir(tasks)) != NULL;)
		found = is_in_exit_group(atoi(entry->d_name));
	return found;
}

/* Whether the thread TID has ended, and only waits for the others of its process. */
static bool has_ended(pid_t tid)
{
	cleanup_free char *stat = proc_stat(tid);
	return strchr("ZX", proc_stat_state(stat)); /* or there is no state any more */
}

/* Of PID's threads, whether TID is the last. */
static bool is_last_thread(pid_t pid, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	bool is_last = tasks != NULL;
	for (struct dirent *entry; is_last && (entry = readdir(tasks)) != NULL;) {
		pid_t other = atoi(entry->d_name);
		is_last = other <= 0 || other == tid || has_ended(other);
	}
	return is_last;
}

/*
 * Whether the thread TID of PID, at its PTRACE_EVENT_EXIT, ends together with all of its process. It may also end
 * alone, or because another one is executing over it: then its exit status is 0 (do_group_exit(), Linux 6.18 read).
 */
static bool ends_with_its_process(pid_t pid, pid_t tid)
{
	unsigned long exit_status = 0;
	return is_last_thread(pid, tid) ||
	       (ptrace(PTRACE_GETEVENTMSG, tid, 0, &exit_status) == 0 && exit_status != 0) ||
	       any_thread_is_in_exit_group(pid);
}

static bool has_something_to_tell(const struct followed *followed)
{
	return followed->has_skipped || followed->waiting;
}

/* Tell of everybody what there is to tell, let them go, and end. */
_Noreturn static void leave(struct following *following)
{
	exec_event_timeout(following);
	_exit(0);
}

/*
 * The root ends with TID, one of its threads: what it has started is followed no further, so that its parent does not
 * hear of its end before we are gone. (In exit_notify() the kernel lets go of it after it has taken us out of our
 * cgroup's list, Linux 6.18 read.)
 */
static bool root_ends(const struct following *following, pid_t tid)
{
	return (tid == following->root_pid || is_thread_of(following->root_pid, tid)) &&
	       ends_with_its_process(following->root_pid, tid);
}

/* A thread ends, and perhaps its process, which still has a standard error to be told why nothing was done. */
static enum next on_exit_event(struct following *following, struct followed *thread)
{
	pid_t tid = thread->tracee.pid;
	if (has_something_to_tell(thread)) {
		if (ends_with_its_process(tid, tid))
			exec_event_end(following, thread);
	} else if (is_in_exit_group(tid)) {
		/* That of its main thread comes later, when this one may be gone. */
		for (size_t i = 0; i < following->count; i++) {
			struct followed *other = &following->list[i];
			if (has_something_to_tell(other) && is_thread_of(other->tracee.pid, tid))
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
	if (signal == SIGTRAP)
		return followed->waiting ? on_the_way(following, followed, entry_wait_stopped(followed)) : NEXT_RUN_ON;
	return followed->waiting && entry_wait_gives_up(followed) ? NEXT_NOTHING : NEXT_STAY;
}

static void on_stop(struct following *following, struct followed *followed, int status)
{
	enum next next = NEXT_RUN_ON;
	int event = status >> 16;
	int signal_to_deliver = 0;
	unsigned long child_pid = 0;
	pid_t pid = followed->tracee.pid;
	if (followed->stage == FOLLOWED_ASIDE) {
		tracee_detach(&followed->tracee);
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
		if (followed->waiting)
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

_Noreturn void follow(struct trace_job *job, const struct tracee *threads, size_t count)
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
