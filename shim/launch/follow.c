#include "launch/follow.h"

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
#include "base/retry.h"
#include "engine/entry_stop.h"
#include "launch/consider.h"
#include "launch/entry_wait.h"

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

static struct followed *add(struct following *following, const struct tracee *tracee)
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
	*followed = (struct followed){.tracee = *tracee};
	return followed;
}

static void forget(struct following *following, struct followed *followed)
{
	entry_stop_drop(&followed->tracee);
	free(followed->skipped_exe);
	*followed = following->list[--following->count];
}

/* Let a stopped tracee run on, with SIGNAL_TO_DELIVER (0: none). */
static void resume(const struct followed *followed, int signal_to_deliver)
{
	bool watches = followed->waiting && followed->hint.watches;
	ptrace(watches ? PTRACE_SYSCALL : PTRACE_CONT, followed->tracee.pid, 0, (long)signal_to_deliver);
}

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
	bool may_leave = !following->launch->follows || following->launch->tracer_is_orphan;
	if (!following->deadline_us && may_leave)
		following->deadline_us = now_us() + (int64_t)settings->follow_timeout_s * 1000000;
	long wanted = followed->tracee.options | (settings->follow == FOLLOW_FORK ? FORK_OPTIONS : PTRACE_O_TRACECLONE);
	if (wanted == followed->tracee.options)
		return;
	if (ptrace(PTRACE_SETOPTIONS, followed->tracee.pid, 0, wanted) == 0)
		followed->tracee.options = following->child_options = wanted;
}

/* FOLLOWED was released. Where it is the root that happens only now, by our end. */
static void let_go(struct following *following, struct followed *followed)
{
	if (followed->is_root)
		_exit(0);
	forget(following, followed);
}

/* At COMMAND's own exec: whether the tracer may go on. */
static bool begins(struct following *following, struct followed *followed)
{
	struct launch *launch = following->launch;
	if (!followed->is_root)
		return false; /* something that the root has cloned aside */
	following->has_begun = true;
	following->deadline_us = 0;
	return !launch->may_begin || launch->may_begin(launch);
}

static void on_exec(struct following *following, struct followed *followed)
{
	followed->tracee.state = TRACEE_IN_EXEC;
	followed->tracee.filter_seen = FILTER_UNSEEN;
	followed->tracee.syscall_insn_addr = 0; /* a new program has its vDSO elsewhere */
	fault_point("exec-stop");
	if (followed->waiting) {
		consider_replaced(following, followed);
		entry_stop_drop(&followed->tracee);
	}
	if (!followed->has_executed && !begins(following, followed)) {
		tracee_detach(&followed->tracee);
		let_go(following, followed);
		return;
	}
	followed->has_executed = true;
	struct settings settings;
	if (consider(following, followed, &settings) == CONSIDERED_LET_GO) {
		let_go(following, followed);
		return;
	}
	apply_follow_setting(following, followed, &settings);
	followed->tracee.state = TRACEE_RUNNING;
	resume(followed, 0);
}

/* FOLLOWED is on the way to its entry point, and was looked at. */
static void on_the_way(struct following *following, struct followed *followed, enum entry_wait where)
{
	if (where == ENTRY_MISSED) {
		consider_missed(following, followed);
		let_go(following, followed);
	} else if (where == ENTRY_REACHED && consider_entry(following, followed) == CONSIDERED_LET_GO) {
		let_go(following, followed);
	} else if (followed->tracee.state != TRACEE_LET_GO) {
		followed->tracee.state = TRACEE_RUNNING;
		resume(followed, 0);
	}
}

/* It is time to look at some who are on the way to their entry points. */
static void look_at_waiting(struct following *following)
{
	for (size_t i = following->count; i > 0; i--) {
		struct followed *followed = &following->list[i - 1];
		if (followed->waiting && entry_wait_look(followed) == ENTRY_MISSED)
			on_the_way(following, followed, ENTRY_MISSED);
	}
}

static bool is_thread_of(pid_t pid, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)tid);
	return access(path, F_OK) == 0;
}

/*
 * Whether the child that the kernel has attached for us is one to follow: a thread of PARENT's process, or any child
 * where those are traced. What was cloned without SIGCHLD as its exit signal is told of as threads are, and is none.
 */
static bool is_wanted(pid_t parent, long options, pid_t child)
{
	return (options & PTRACE_O_TRACEFORK) || is_thread_of(parent, child);
}

/* A child that the kernel attached for us, at its first stop. */
static void on_new_child(struct following *following, const struct followed *parent)
{
	unsigned long child_pid = 0;
	ptrace(PTRACE_GETEVENTMSG, parent->tracee.pid, 0, &child_pid);
	struct tracee tracee = {.pid = (pid_t)child_pid,
	                        .options = parent->tracee.options,
	                        .suspends_seccomp = parent->tracee.suspends_seccomp,
	                        .known_filters = parent->tracee.known_filters,
	                        .is_foreign = parent->tracee.is_foreign};
	bool has_executed = parent->has_executed;
	if (child_pid && !find(following, (pid_t)child_pid)) {
		bool is_stranger = !is_wanted(parent->tracee.pid, parent->tracee.options, (pid_t)child_pid);
		struct followed *child = add(following, &tracee);
		if (child) {
			child->has_executed = has_executed;
			child->is_stranger = is_stranger;
		}
	}
}

/* Whether the thread TID, stopped, is in exit_group(2). */
static bool is_in_exit_group(pid_t tid)
{
	char path[64];
	cleanup_free char *call = NULL;
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)tid);
	return read_file_at(AT_FDCWD, path, 4096, &call, NULL) == 0 && strtoull(call, NULL, 10) == SYS_exit_group;
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
	char path[64];
	cleanup_free char *stat = NULL;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
	const char *name_end = read_file_at(AT_FDCWD, path, 4096, &stat, NULL) < 0 ? NULL : strrchr(stat, ')');
	return !name_end || strchr("ZX", name_end[strnlen(name_end, 2)]);
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
	consider_timeout(following);
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
static void on_exit_event(struct following *following, struct followed *thread)
{
	pid_t tid = thread->tracee.pid;
	if (has_something_to_tell(thread)) {
		if (ends_with_its_process(tid, tid))
			consider_end(following, thread);
	} else if (is_in_exit_group(tid)) {
		/* That of its main thread comes later, when this one may be gone. */
		for (size_t i = 0; i < following->count; i++) {
			struct followed *other = &following->list[i];
			if (has_something_to_tell(other) && is_thread_of(other->tracee.pid, tid))
				consider_end(following, other);
		}
	}
	if (root_ends(following, tid))
		leave(following);
	resume(thread, 0);
}

static void on_stop(struct following *following, struct followed *followed, int status)
{
	int event = status >> 16;
	int signal = WSTOPSIG(status);
	pid_t pid = followed->tracee.pid;
	switch (event) {
	case PTRACE_EVENT_EXEC: on_exec(following, followed); return;
	case PTRACE_EVENT_EXIT: on_exit_event(following, followed); return;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		on_new_child(following, followed);
		followed = find(following, pid); /* the list may have moved */
		if (followed)
			resume(followed, 0);
		return;
	case PTRACE_EVENT_STOP:
		/* A group stop is kept, a first stop or the end of a group stop (SIGTRAP) passed over. */
		if (signal == SIGTRAP && followed->waiting)
			on_the_way(following, followed, entry_wait_stopped(followed));
		else if (signal == SIGTRAP)
			resume(followed, 0);
		else if (!followed->waiting || !entry_wait_gives_up(followed))
			ptrace(PTRACE_LISTEN, pid, 0, 0);
		return;
	case 0:
		if (signal == SYSCALL_STOP && followed->waiting)
			map_hint_step(&followed->tracee, &followed->hint);
		resume(followed, signal == SYSCALL_STOP ? 0 : signal);
		return;
	default: resume(followed, 0); return;
	}
}

_Noreturn void follow(struct launch *launch, const struct tracee *threads, size_t count)
{
	struct following following = {.launch = launch, .list = followed_at_first, .capacity = FOLLOWED_AT_FIRST};
	for (size_t i = 0; i < count; i++) {
		struct followed *thread = add(&following, &threads[i]);
		if (!thread)
			_exit(0);
		thread->is_root = i == 0;
	}
	following.root_pid = threads[0].pid;
	following.child_options = threads[0].options;
	if (launch->exec_timeout_s)
		following.deadline_us = now_us() + (int64_t)launch->exec_timeout_s * 1000000;
	while (following.count > 0) {
		int status;
		pid_t pid = next_event(&following, &status);
		if (pid == 0 && (!following.deadline_us || now_us() < following.deadline_us)) {
			look_at_waiting(&following);
			continue;
		}
		if (pid <= 0)
			leave(&following);
		struct followed *followed = find(&following, pid);
		if (!WIFSTOPPED(status)) {
			if (followed) {
				consider_end(&following, followed);
				forget(&following, followed);
			}
			continue;
		}
		if (!followed) {
			/* A new child or thread may stop before its parent's event tells of it. */
			struct tracee tracee = threads[0];
			tracee.pid = pid;
			tracee.options = following.child_options;
			followed = add(&following, &tracee);
			if (followed) {
				followed->has_executed = following.has_begun;
				followed->is_stranger = !is_wanted(threads[0].pid, tracee.options, pid);
			}
		}
		if (!followed) {
			ptrace(PTRACE_DETACH, pid, 0, 0);
		} else if (followed->is_stranger) {
			tracee_detach(&followed->tracee);
			forget(&following, followed);
		} else {
			on_stop(&following, followed, status);
		}
	}
	_exit(0);
}
