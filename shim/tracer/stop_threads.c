/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/stop_threads.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/retry.h"

/* For all others to stand still. They are asked at once; this is for one that the kernel does not let go of. */
#define OTHERS_MS 500

#define LOOK_AGAIN_NS 50000

/* For the main thread, when nothing is heard of it, before it is looked what has become of the others. */
#define NEWS_NS 20000000

/* Whether TID is a thread of PID's that could run. */
static bool is_alive(pid_t pid, pid_t tid)
{
	char path[64];
	cleanup_free char *status = NULL;
	snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)tid);
	if (read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0)
		return false;
	const char *state = proc_value(status, "State");
	return !state || (*state != 'Z' && *state != 'X');
}

/* Wait for thread TID of PID to stop or end: *STATUS is waitpid()'s, 0 if it has gone. Returns 0, or -1 with ERR. */
static int wait_for(pid_t pid, pid_t tid, int64_t deadline_us, int *status, struct error *err)
{
	*status = 0;
	for (;;) {
		pid_t got = waitpid(tid, status, __WALL | WNOHANG);
		if (got > 0)
			return 0;
		/* Not ours: it has ended, or was another tracer's before. */
		if (got < 0 && errno != EINTR)
			return is_alive(pid, tid) ? tracee_refused(err, EPERM, tid) : 0;
		if (now_us() >= deadline_us)
			return error_set(err, REASON_THREADS_BUSY, "thread %d cannot be stopped just now; try again",
			                 (int)tid);
		nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_NS}, NULL);
	}
}

/*
 * THREAD was asked to stop; wait until it stands. What it stops for on the way is passed on: a signal is delivered, so
 * that none has to be kept, and the stop that we asked for comes before the first instruction of its handler. Any stop
 * makes the kernel forget that it was asked for another (ptrace_stop(), kernel/signal.c), so it is asked again.
 */
static int await_stop(struct tracee *thread, pid_t pid, int64_t deadline_us, struct error *err)
{
	for (;;) {
		int status;
		if (wait_for(pid, thread->pid, deadline_us, &status, err) < 0)
			return -1;
		thread->state = WIFSTOPPED(status) ? TRACEE_STOPPED : TRACEE_GONE;
		int event = status >> 16;
		if (thread->state == TRACEE_GONE || event == PTRACE_EVENT_STOP)
			return 0;
		thread->state = TRACEE_RUNNING;
		ptrace(PTRACE_CONT, thread->pid, 0, event ? 0L : (long)WSTOPSIG(status));
		ptrace(PTRACE_INTERRUPT, thread->pid, 0, 0);
	}
}

/* Stop those of the others from the one with index FIRST on. */
static int stop_from(struct seized *others, size_t first, pid_t pid, int64_t deadline_us, struct error *err)
{
	for (size_t i = first; i < others->count; i++)
		ptrace(PTRACE_INTERRUPT, others->threads[i].pid, 0, 0);
	for (size_t i = first; i < others->count; i++) {
		if (await_stop(&others->threads[i], pid, deadline_us, err) < 0)
			return -1;
	}
	return 0;
}

/* Until there is no thread that was not there before: those that start meanwhile are attached by the kernel. */
static int stop_all(struct frozen *frozen, struct error *err)
{
	int64_t deadline_us = now_us() + OTHERS_MS * 1000;
	size_t stopped = 0;
	while (seize_others(&frozen->main, &frozen->others, err) == 0) {
		if (frozen->others.count == stopped)
			return 0;
		if (stop_from(&frozen->others, stopped, frozen->main.pid, deadline_us, err) < 0)
			return -1;
		stopped = frozen->others.count;
	}
	return -1;
}

static struct frozen *frozen_of(struct tracee *tracee)
{
	return (struct frozen *)(void *)((char *)tracee - offsetof(struct frozen, main));
}

/*
 * A thread of ours that has been killed is ours to reap. Before that neither does the end of its process come to be
 * known, of which the main thread tells last, nor can another thread execute the program for which it was killed
 * (de_thread(), fs/exec.c).
 */
static void reap_ended(struct seized *others)
{
	for (size_t i = 0; i < others->count; i++) {
		siginfo_t info = {0};
		struct tracee *thread = &others->threads[i];
		if (thread->state != TRACEE_GONE &&
		    waitid(P_PID, (id_t)thread->pid, &info, WEXITED | WNOHANG | __WALL) == 0 && info.si_pid)
			thread->state = TRACEE_GONE;
	}
}

/*
 * As waitpid() for the main thread. That alone might never return: when another thread executes a program it takes the
 * main thread's number before that is gone, and a tracer that sleeps in waitpid(2) for this number is not woken
 * (de_thread() and child_wait_callback(), Linux 6.18). So it is only asked; all signals are blocked, SIGCHLD tells
 * when.
 */
static pid_t wait_for_main(struct tracee *tracee, int *status)
{
	sigset_t news;
	sigemptyset(&news);
	sigaddset(&news, SIGCHLD);
	if (frozen_of(tracee)->others.count > 0)
		fault_point("frozen-call");
	for (;;) {
		pid_t got = waitpid(tracee->pid, status, __WALL | WNOHANG);
		if (got > 0 || (got < 0 && errno != EINTR))
			return got;
		if (sigtimedwait(&news, NULL, &(struct timespec){.tv_nsec = NEWS_NS}) > 0)
			continue;
		reap_ended(&frozen_of(tracee)->others);
		if (!is_alive(tracee->pid, tracee->pid))
			return -1;
	}
}

/* Those that cannot be let go, because they do not stand (any more), stay ours: to be reaped. */
static void start_others(struct tracee *tracee)
{
	struct frozen *frozen = frozen_of(tracee);
	size_t kept = 0;
	for (size_t i = 0; i < frozen->others.count; i++) {
		struct tracee *thread = &frozen->others.threads[i];
		bool has_ended = thread->state == TRACEE_GONE;
		tracee_detach(thread);
		if (has_ended || thread->state == TRACEE_DETACHED)
			continue;
		thread->state = TRACEE_RUNNING;
		frozen->others.threads[kept++] = *thread;
	}
	frozen->others.count = kept;
	frozen->held_us += (uint64_t)(now_us() - frozen->held_since_us);
}

/*
 * Whether the main thread still stands where it stood. Another one may have executed a program before it was stopped:
 * then it has the main thread's number, and what is asked of that would be done to the new program. As long as it runs
 * it cannot be asked anything, and if it has stopped nobody has been told of that yet.
 */
static int check_main(struct tracee *tracee, struct error *err)
{
	int status;
	if (tracee_check_native(tracee, err) < 0)
		return -1;
	pid_t got = retry(waitpid(tracee->pid, &status, __WALL | WNOHANG));
	if (got == 0)
		return 0;
	if (got > 0 && WIFSTOPPED(status))
		ptrace(PTRACE_DETACH, tracee->pid, 0, status >> 16 ? 0L : (long)WSTOPSIG(status));
	tracee->state = TRACEE_GONE;
	return error_set(err, REASON_TRACEE_GONE, "process %d executed another program meanwhile", (int)tracee->pid);
}

static int stop_others(struct tracee *tracee, struct error *err)
{
	struct frozen *frozen = frozen_of(tracee);
	/* One that did not stop the last time may do so at any moment, and is no longer known. */
	if (frozen->failed)
		return error_set(err, REASON_THREADS_BUSY, "not all its threads stopped in time; try again");
	frozen->held_since_us = now_us();
	bool stand = stop_all(frozen, err) == 0;
	if (check_main(tracee, stand ? err : NULL) == 0 && stand) {
		fault_point("frozen");
		return 0;
	}
	frozen->failed = true;
	start_others(tracee);
	return -1;
}

int freeze(pid_t pid, unsigned timeout_ms, struct frozen *frozen, struct error *err)
{
	*frozen = (struct frozen){0};
	if (tracee_seize(&frozen->main, pid, 0, err) < 0)
		return -1;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	if (await_stop(&frozen->main, pid, now_us() + (int64_t)timeout_ms * 1000, err) < 0)
		return -1;
	frozen->main.stop_others = stop_others;
	frozen->main.start_others = start_others;
	frozen->main.wait = wait_for_main;
	if (frozen->main.state == TRACEE_STOPPED)
		return 0;
	return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)pid);
}

void thaw(struct frozen *frozen)
{
	tracee_detach(&frozen->main);
	reap_ended(&frozen->others);
	free(frozen->others.threads);
}
