/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/spawn_tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/proc.h"
#include "base/retry.h"
#include "launch/handshake.h"
#include "launch/reaper.h"
#include "launch/tracer_main.h"
#include "tracer/seccomp_preflight.h"

/* How often a waiting target looks whether its tracer is still alive, and how long it waits for it in all. */
#define TRACER_CHECK_MS 20
#define TRACER_MAX_MS   5000
#define REAP_MS         500 /* for one that was killed: longer only if a file does not let go of it */

/* Whether PID has ended, reaped or not: who has to reap an orphan may be in no hurry, or never do it. */
static bool is_dead(pid_t pid)
{
	cleanup_free char *stat = proc_stat(pid);
	char state = proc_stat_state(stat);
	if (state)
		return state == 'Z' || state == 'X';
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/* Whether the tracer has ended; then it is reaped if it is ours to reap, with its *STATUS (-1: not known). */
static bool has_ended(const struct launch *launch, int *status)
{
	*status = -1;
	if (launch->tracer_is_orphan)
		return is_dead(launch->tracer_pid);
	return waitpid(launch->tracer_pid, status, __WALL | WNOHANG) == launch->tracer_pid;
}

static int tracer_died(int status, struct error *err)
{
	if (status == -1)
		return error_set(err, REASON_TRACER_KILLED, "the tracer has ended");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return error_set(err, REASON_PTRACE_KILLED, "a seccomp filter kills a process that calls ptrace");
	if (WIFSIGNALED(status))
		return error_set(err, REASON_TRACER_KILLED, "the tracer was killed by signal %d", WTERMSIG(status));
	return error_set(err, REASON_TRACER_KILLED, "the tracer ended with status %d", WEXITSTATUS(status));
}

/*
 * End the tracer and reap it. One that does not end, because it waits for a disk or for a server of files in a way that
 * no signal reaches, is left behind: it ends as soon as it can, and does nothing more.
 */
static void kill_tracer(struct launch *launch)
{
	int64_t deadline_ms = now_ms() + REAP_MS;
	int status;
	/* An orphan's number may be another's once it has been reaped. */
	bool ended = has_ended(launch, &status);
	if (!ended)
		kill(launch->tracer_pid, SIGKILL);
	while (!ended && now_ms() < deadline_ms) {
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		ended = has_ended(launch, &status);
	}
	launch->tracer_pid = 0;
}

static int wait_until_traced(struct launch *launch, struct error *err)
{
	int64_t deadline_ms = now_ms() + TRACER_MAX_MS;
	if (deadline_ms > launch->hold_until_us / 1000)
		deadline_ms = launch->hold_until_us / 1000;
	/* Yama, scope 1: only descendants may be traced unless they say whom they trust. Elsewhere it is EINVAL. */
	prctl(PR_SET_PTRACER, (unsigned long)launch->tracer_pid, 0, 0, 0);
	handshake_set(launch->shared, HANDSHAKE_MAY_TRACE);
	for (;;) {
		int status;
		switch (handshake_wait(launch->shared, HANDSHAKE_MAY_TRACE, TRACER_CHECK_MS)) {
		case HANDSHAKE_SEIZED: return 0;
		case HANDSHAKE_REFUSED:
			*err = launch->shared->refusal;
			waitpid(launch->tracer_pid, &status, __WALL); /* an orphan is not ours: ECHILD */
			return -1;
		default: break;
		}
		if (has_ended(launch, &status))
			return tracer_died(status, err);
		if (now_ms() >= deadline_ms) {
			bool is_late = now_us() >= launch->hold_until_us;
			kill_tracer(launch);
			return error_set(err, is_late ? REASON_HOLD_TIMEOUT : REASON_TRACER_KILLED,
			                 "the tracer was not ready within %d ms",
			                 (int)((now_us() - launch->began_us) / 1000));
		}
		kill(launch->tracer_pid, SIGCONT); /* see continue_until_ended() */
	}
}

/*
 * Of a library that is preloaded into the target: one may hold the allocator's lock, which its copy in the tracer would
 * never give back.
 * The kernel counts them among the links of the folder (fs/proc/base.c, proc_task_getattr()).
 */
static bool has_other_threads(void)
{
	struct stat st;
	return stat("/proc/self/task", &st) == 0 && st.st_nlink > 3;
}

/*
 * Until it has a session of its own, what the target starts stops together with its process group, and SIGSTOP cannot
 * be blocked. Whoever continues the target alone would leave it stopped, and the target waiting for it.
 */
static void continue_until_ended(pid_t pid)
{
	int status;
	while (retry(waitpid(pid, &status, __WALL | WUNTRACED)) == pid && WIFSTOPPED(status))
		kill(pid, SIGCONT);
}

/*
 * Clone the tracer, directly or by a middle process. Not fork(): the exit signal must be none. The child of a
 * single-threaded process may go on as after fork(2). Returns the tracer's PID, or -1 with errno.
 */
static pid_t clone_tracer(struct launch *launch)
{
	pid_t parent_pid = getpid();
	long child = syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child == 0 && launch->tracer_is_orphan) {
		child = syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
		if (child != 0) {
			launch->shared->tracer_pid = (pid_t)child;
			_exit(0);
		}
	}
	if (child == 0)
		tracer_main(launch, parent_pid);
	if (child < 0 || !launch->tracer_is_orphan)
		return (pid_t)child;
	continue_until_ended((pid_t)child);
	errno = EAGAIN;
	return launch->shared->tracer_pid > 0 ? launch->shared->tracer_pid : -1;
}

/* What the target itself calls here, where it can do no harm. clone, which that takes, cannot be tried. */
static void calls(void)
{
	char buf[64];
	struct handshake_memory *shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return;
	(void)!readlink("/proc/self/ns/pid", buf, sizeof buf);
	(void)!access("/proc/self/maps", R_OK);
	has_other_threads();
	nanosleep(&(struct timespec){0}, NULL);
	sigprocmask(SIG_BLOCK, NULL, NULL);
	reaper_is_self();
	prctl(PR_SET_PTRACER, 0, 0, 0, 0);
	handshake_set(shared, HANDSHAKE_BEGUN);
	handshake_wait(shared, HANDSHAKE_BEGUN, 1);
	waitpid(-1, NULL, __WALL | WNOHANG);
	kill(getpid(), 0);
	munmap(shared, sizeof *shared);
}

int launch_start_tracer(struct launch *launch, bool is_filtered, struct error *err)
{
	if (is_filtered && preflight_calls(calls, err) < 0)
		return -1;
	if (access("/proc/self/maps", R_OK) < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "/proc/self/maps");
	/* Neither a call for the work could be run in the program, nor the last one, which reaps the tracer. */
	if (!getauxval(AT_SYSINFO_EHDR))
		return error_set(err, REASON_NO_VDSO,
		                 "the kernel gives programs no vDSO to run a system call from; boot it without vdso=0");
	if (has_other_threads())
		return error_set(err, REASON_PRELOADED_THREADS,
		                 "a library in LD_PRELOAD has started a thread; run hugexec without it");
	if (!aside_is_possible())
		return error_set(err, REASON_PID_NAMESPACE, "a tracer would be PID 1 of a new PID namespace");
	launch->shared = mmap(NULL, sizeof *launch->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (launch->shared == MAP_FAILED)
		return error_set_errno(err, errno, REASON_FORK, "shared memory");

	sigset_t all, before;
	sigfillset(&all);
	launch->tracer_is_orphan =
	    !reaper_is_self() && (launch->job.follows || (launch->libraries && reaper_check(NULL) == 0));
	/* The tracer waits for SIGCHLD, which is lost if it is not blocked. */
	if (sigprocmask(SIG_BLOCK, &all, &before) < 0) {
		error_set_errno(err, errno, REASON_FORK, "blocking signals");
		munmap(launch->shared, sizeof *launch->shared);
		return -1;
	}
	bool shows = !launch->tracer_is_orphan && sigismember(&before, SIGCHLD);
	pid_t tracer_pid = shows ? -1 : clone_tracer(launch);
	int saved_errno = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	int result = -1;
	if (shows) {
		error_set(err, REASON_SIGCHLD_BLOCKED, "the tracer's end would leave SIGCHLD pending");
	} else if (tracer_pid < 0) {
		error_set_errno(err, saved_errno, REASON_FORK, "no process for the tracer");
	} else {
		launch->tracer_pid = tracer_pid;
		result = wait_until_traced(launch, err);
	}
	if (result < 0)
		launch->tracer_pid = 0;
	munmap(launch->shared, sizeof *launch->shared);
	return result;
}

void launch_stop_tracer(struct launch *launch)
{
	if (launch->tracer_pid > 0) /* else hugexecd traces us until our end, which is near */
		kill_tracer(launch);
}
