/* SPDX-License-Identifier: Apache-2.0 */
#include "base/aside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/retry.h"

#define REAP_MS 100 /* for a child that was killed: more than enough if it does not wait for a disk */

/* How often is looked whether it has ended. */
#define LOOK_FIRST_NS 20000
#define LOOK_LATER_NS 200000

#define ASIDE_LOST 255

static bool is_child;
static bool is_proven;
static pid_t caller; /* of aside(), known to its child */

bool aside_is_proven(void)
{
	return is_proven;
}

void aside_prove(void)
{
	is_proven = true;
}

bool aside_is_child(void)
{
	return is_child;
}

void aside_die_with_caller(void)
{
	if (!is_child)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != caller)
		_exit(ASIDE_LOST);
}

/*
 * As few calls as can be: a seccomp filter of the workload's may kill for any of them, and what is to be told would be
 * lost. Should the caller be killed, the alarm ends the child, unless its signals are blocked.
 */
_Noreturn static void run(int (*work)(void *context), void *context, int timeout_ms)
{
	is_child = true;
	signal(SIGALRM, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	alarm((unsigned)timeout_ms / 1000 + 2);
	_exit(work(context));
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	return fd >= 0 && poll(&poll_fd, 1, 0) == 1;
}

/*
 * Wait for the child until DEADLINE_MS. Returns whether it has ended, and was reaped with its *STATUS. By looking again
 * and again: that takes no descriptor, and no call that a seccomp filter which lets us have a child could forbid.
 */
static bool has_ended(pid_t child, int watched_pidfd, int64_t deadline_ms, int *status)
{
	for (int64_t pause_ns = LOOK_FIRST_NS;; pause_ns += pause_ns < LOOK_LATER_NS ? pause_ns / 4 : 0) {
		pid_t reaped = retry(waitpid(child, status, __WALL | WNOHANG));
		if (reaped != 0)
			return reaped == child;
		if (now_ms() >= deadline_ms || is_readable(watched_pidfd))
			return false;
		nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
	}
}

bool aside_is_possible(void)
{
	char own[64] = "", children[64] = "";
	ssize_t a = readlink("/proc/self/ns/pid", own, sizeof own - 1);
	ssize_t b = readlink("/proc/self/ns/pid_for_children", children, sizeof children - 1);
	return a > 0 && a == b && memcmp(own, children, sizeof own) == 0;
}

int aside(int (*work)(void *context), void *context, int timeout_ms, int watched_pidfd)
{
	int status = 0;
	caller = getpid();
	pid_t child = aside_is_possible() ? (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL) : -1;
	if (child == 0)
		run(work, context, timeout_ms);
	if (child < 0) {
		errno = EAGAIN;
		return -1;
	}
	is_proven = true;
	bool in_time = has_ended(child, watched_pidfd, now_ms() + timeout_ms, &status);
	if (!in_time) {
		kill(child, SIGKILL);
		has_ended(child, -1, now_ms() + REAP_MS, &status);
	}
	errno = in_time ? ECHILD : ETIMEDOUT;
	return in_time && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
