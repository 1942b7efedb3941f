/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/stop_threads.h"

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

/* Whether TID is a thread of PID's that could run; true if we cannot tell, for want of a descriptor or memory. */
static bool is_alive(pid_t pid, pid_t tid)
{
	char path[64];
	cleanup_free char *status = NULL;
	snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)tid);
	if (read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0)
		return errno != ENOENT && errno != ESRCH;
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
static int stop_all(struct running_process *process, struct error *err)
{
	int64_t deadline_us = now_us() + OTHERS_MS * 1000;
	size_t stopped = 0;
	while (seize_others(&process->main, &process->others, err) == 0) {
		if (process->others.count == stopped)
			return 0;
		if (stop_from(&process->others, stopped, process->main.pid, deadline_us, err) < 0)
			return -1;
		stopped = process->others.count;
	}
	return -1;
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
pid_t other_threads_wait(struct tracee *main_thread, int *status)
{
	sigset_t news;
	sigemptyset(&news);
	sigaddset(&news, SIGCHLD);
	if (main_thread->process->others.count > 0)
		fault_point("frozen-call");
	for (;;) {
		pid_t got = waitpid(main_thread->pid, status, __WALL | WNOHANG);
		if (got > 0 || (got < 0 && errno != EINTR))
			return got;
		if (sigtimedwait(&news, NULL, &(struct timespec){.tv_nsec = NEWS_NS}) > 0)
			continue;
		reap_ended(&main_thread->process->others);
		if (!is_alive(main_thread->pid, main_thread->pid))
			return -1;
	}
}

/* Those that cannot be let go, because they do not stand (any more), stay ours: to be reaped. */
void other_threads_start(struct tracee *main_thread)
{
	struct running_process *process = main_thread->process;
	size_t kept = 0;
	for (size_t i = 0; i < process->others.count; i++) {
		struct tracee *thread = &process->others.threads[i];
		bool has_ended = thread->state == TRACEE_GONE;
		tracee_detach(thread);
		if (has_ended || thread->state == TRACEE_DETACHED)
			continue;
		thread->state = TRACEE_RUNNING;
		process->others.threads[kept++] = *thread;
	}
	process->others.count = kept;
	process->held_us += (uint64_t)(now_us() - process->held_since_us);
}

/*
 * Whether the main thread still stands where it stood. Another one may have executed a program before it was stopped:
 * then it has the main thread's number, and what is asked of that would be done to the new program. As long as it runs
 * it cannot be asked anything, and if it has stopped nobody has been told of that yet.
 */
static int check_main(struct tracee *main_thread, struct error *err)
{
	int status;
	if (tracee_check_native(main_thread, err) < 0)
		return -1;
	pid_t got = retry(waitpid(main_thread->pid, &status, __WALL | WNOHANG));
	if (got == 0)
		return 0;
	if (got > 0 && WIFSTOPPED(status))
		ptrace(PTRACE_DETACH, main_thread->pid, 0, status >> 16 ? 0L : (long)WSTOPSIG(status));
	main_thread->state = TRACEE_GONE;
	return error_set(err, REASON_TRACEE_GONE, "process %d executed another program meanwhile",
	                 (int)main_thread->pid);
}

int other_threads_stop(struct tracee *main_thread, struct error *err)
{
	struct running_process *process = main_thread->process;
	/* One that did not stop the last time may do so at any moment, and is no longer known. */
	if (process->failed)
		return error_set(err, REASON_THREADS_BUSY, "not all its threads stopped in time; try again");
	process->held_since_us = now_us();
	bool stand = stop_all(process, err) == 0;
	if (check_main(main_thread, stand ? err : NULL) == 0 && stand) {
		fault_point("frozen");
		return 0;
	}
	process->failed = true;
	other_threads_start(main_thread);
	return -1;
}

int running_process_seize(pid_t pid, unsigned timeout_ms, struct running_process *process, struct error *err)
{
	*process = (struct running_process){0};
	if (tracee_seize(&process->main, pid, 0, err) < 0)
		return -1;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	if (await_stop(&process->main, pid, now_us() + (int64_t)timeout_ms * 1000, err) < 0)
		return -1;
	process->main.process = process;
	if (process->main.state == TRACEE_STOPPED)
		return 0;
	return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)pid);
}

void running_process_release(struct running_process *process)
{
	tracee_detach(&process->main);
	reap_ended(&process->others);
	free(process->others.threads);
}
