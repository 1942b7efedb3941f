/* SPDX-License-Identifier: Apache-2.0 */
#include "base/say.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/clock.h"

/* One write, which does not wait: as far as the kernel offers that for a descriptor that is not ours alone. */
static ssize_t put(int fd, mode_t mode, const void *data, size_t bytes)
{
	struct iovec io = {(void *)data, bytes};
	if (S_ISSOCK(mode))
		return send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* Another writer may fill a pipe between our look at it and this (pipes know RWF_NOWAIT since Linux 6.4). */
	ssize_t result = S_ISFIFO(mode) ? pwritev2(fd, &io, 1, -1, RWF_NOWAIT) : -1;
	if (S_ISFIFO(mode) && (result >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)))
		return result;
	return write(fd, data, bytes);
}

static int put_all(int fd, const char *data, size_t bytes, int64_t deadline_ms)
{
	struct stat st;
	mode_t mode = fstat(fd, &st) == 0 ? st.st_mode : 0;
	while (bytes > 0) {
		int64_t left_ms = deadline_ms - now_ms();
		struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
		int ready = S_ISREG(mode) ? 1 : poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);
		/* A filter that refuses poll(2) does not take the line away, too. */
		if (ready == 1 || (ready < 0 && errno != EINTR)) {
			ssize_t done = put(fd, mode, data, bytes);
			if (done < 0 && errno != EINTR && errno != EAGAIN)
				return -1;
			data += done > 0 ? done : 0;
			bytes -= done > 0 ? (size_t)done : 0;
		}
		if (bytes > 0 && now_ms() >= deadline_ms) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	return 0;
}

/* The signal that a write which failed with ERRNUM has raised; 0: none. SIGTTOU is not raised if it is blocked. */
static int raised_by(int errnum)
{
	return errnum == EPIPE ? SIGPIPE : errnum == EFBIG ? SIGXFSZ : 0;
}

int say(int fd, const void *data, size_t bytes, int timeout_ms)
{
	static const struct timespec at_once;
	sigset_t ours, before, pending;
	if (aside_is_child()) /* it ignores them */
		return put_all(fd, data, bytes, now_ms() + timeout_ms);
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigaddset(&ours, SIGXFSZ);
	sigaddset(&ours, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ours, &before);
	sigpending(&pending);
	int result = put_all(fd, data, bytes, now_ms() + timeout_ms);
	int saved_errno = errno;
	int raised = result < 0 ? raised_by(saved_errno) : 0;
	if (raised && !sigismember(&pending, raised)) {
		sigemptyset(&ours);
		sigaddset(&ours, raised);
		sigtimedwait(&ours, NULL, &at_once);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = saved_errno;
	return result;
}

struct saying {
	int fd, bytes;
	char line[8192];
};

static int say_it(void *context)
{
	const struct saying *saying = context;
	return say(saying->fd, saying->line, (size_t)saying->bytes, SAY_MS) < 0;
}

void say_line(int fd, const char *format, ...)
{
	struct saying saying = {.fd = fd};
	va_list args;
	va_start(args, format);
	saying.bytes = vsnprintf(saying.line, sizeof saying.line, format, args);
	va_end(args);
	if (saying.bytes >= (int)sizeof saying.line) {
		saying.bytes = sizeof saying.line - 1;
		saying.line[saying.bytes - 1] = '\n';
	}
	if (saying.bytes > 0 && aside(say_it, &saying, 2 * SAY_MS, -1) < 0 && errno == EAGAIN)
		say_it(&saying);
}
