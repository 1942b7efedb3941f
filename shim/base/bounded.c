#include "base/bounded.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define REAP_WAIT_MS 100 /* for a child that was killed: more than enough where it does not wait for a disk */

static bool has_ended(int pidfd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	int64_t end_us = now_us() + (int64_t)timeout_ms * 1000;
	int ready;
	do {
		ready = poll(&poll_fd, 1, timeout_ms);
		timeout_ms = (int)((end_us - now_us()) / 1000);
	} while (ready < 0 && errno == EINTR && timeout_ms > 0);
	return ready == 1;
}

/* Without a signal to tell of its end: the caller's SIGCHLD may be ignored, or the workload's business. */
static pid_t start(void (*work)(void *context), void *context)
{
	pid_t parent = getpid();
	long child = syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child != 0)
		return (pid_t)child;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	work(context);
	_exit(0);
}

int run_bounded(void (*work)(void *context), void *context, unsigned timeout_ms, bool *in_time, struct error *err)
{
	int timeout = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
	pid_t child = start(work, context);
	if (child < 0)
		return error_set_errno(err, errno, "process-limit", "no process for what may wait for a disk");
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, child, 0); /* close-on-exec by itself */
	*in_time = pidfd >= 0 && has_ended(pidfd, timeout);
	if (!*in_time) {
		kill(child, SIGKILL);
		if (pidfd >= 0)
			has_ended(pidfd, REAP_WAIT_MS);
	}
	waitpid(child, NULL, __WALL | WNOHANG);
	return 0;
}
