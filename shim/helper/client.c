/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "config.h"
#include "helper/protocol.h"
#include "report/deliver.h"
#include "tracer/seccomp_preflight.h"

/*
 * How long a start may be held by a helper that does not answer. It answers within a few milliseconds if it runs;
 * the service manager may have to start it first, on a machine that is busy starting everything else.
 */
#define ANSWER_MS                                                                                          \
	(HUGEXEC_FAULTS ? 4000 : 1000) /* builds with faults have sanitizers too, and are that much slower \
	                                */

/* Every call of this file, where it can do no harm. */
static void calls(void)
{
	struct msghdr nothing = {0};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	close(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
	struct sockaddr_un nowhere = {.sun_family = AF_UNIX};
	struct pollfd poll_fd = {.fd = fd};
	connect(fd, (struct sockaddr *)&nowhere, sizeof nowhere);
	sendmsg(fd, &nothing, MSG_NOSIGNAL);
	poll(&poll_fd, 1, 0);
	recvmsg(fd, &nothing, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	close(pidfd_of(getpid()));
	close(fd);
}

static int connect_to(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return error_set(err, REASON_HELPER_ABSENT, "%s is too long for a socket's name", path);
	strcpy(address.sun_path, path);
	cleanup_close int socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Not in the place of a standard file that is closed: something may be said to that. */
	cleanup_close int fd = socket_fd < 0 ? -1 : fcntl(socket_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		return error_set_errno(err, errno, REASON_FD_LIMIT, "a socket to ask it by");
	if (fd < 0)
		return error_set_errno(err, errno, REASON_HELPER_REFUSED, "no UNIX socket%s",
		                       errno == EAFNOSUPPORT ? " (RestrictAddressFamilies= without AF_UNIX?)" : "");
	/* Never waits: what does not fit the listener's queue is EAGAIN (unix(7)). */
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return steal_fd(&fd);
	enum reason reason = errno == EAGAIN                     ? REASON_HELPER_BUSY
	                     : errno == EACCES || errno == EPERM ? REASON_HELPER_REFUSED
	                                                         : REASON_HELPER_ABSENT;
	return error_set_errno(err, errno, reason, "%s", path);
}

/* Room for the credentials and the files, aligned as the kernel wants it. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * HELPER_FILES_MAX)];
};

/* Add one control message of TYPE to those that CONTROL holds already. */
static void attach(union control *control, size_t *used, int type, const void *data, size_t bytes)
{
	struct cmsghdr head = {CMSG_LEN(bytes), SOL_SOCKET, type};
	memcpy(control->bytes + *used, &head, sizeof head);
	memcpy(control->bytes + *used + CMSG_LEN(0), data, bytes);
	*used += CMSG_SPACE(bytes);
}

/* Send BYTES of DATA as one message, with our credentials and FILES. Returns 0, or -1 with errno. */
static int send_with(int connection, const void *data, size_t bytes, const int *files, unsigned file_count)
{
	union control control = {0};
	struct iovec io = {(void *)data, bytes};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control};
	struct ucred self = {getpid(), geteuid(), getegid()};
	attach(&control, &message.msg_controllen, SCM_CREDENTIALS, &self, sizeof self);
	if (file_count > 0)
		attach(&control, &message.msg_controllen, SCM_RIGHTS, files, file_count * sizeof files[0]);
	return sendmsg(connection, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int send_request(int connection, const struct overrides *overrides, struct error *err)
{
	struct helper_request request = {.magic = HELPER_MAGIC, .version = HELPER_VERSION};
	snprintf(request.backing, sizeof request.backing, "%s", overrides->backing ? overrides->backing : "");
	snprintf(request.coverage, sizeof request.coverage, "%s", overrides->coverage ? overrides->coverage : "");
	cleanup_close int pidfd = pidfd_of(getpid());
	if (pidfd < 0)
		return error_set_errno(err, errno, REASON_HELPER_REFUSED, "pidfd_open");
	/* EPIPE: it has refused this user's clients already, and its answer is there to be read. */
	if (send_with(connection, &request, sizeof request, &pidfd, 1) < 0 && errno != EPIPE)
		return error_set_errno(err, errno, REASON_HELPER_GONE, "sending to it");
	return 0;
}

static int send_word(int connection, const struct report_target *target, struct error *err)
{
	struct helper_word word = {.magic = HELPER_MAGIC};
	int files[HELPER_FILES_MAX];
	unsigned count = 0;
	cleanup_close int report = target->path ? deliver_open_report(target) : -1;
	if (report >= 0) {
		word.flags |= HELPER_REPORT;
		files[count++] = report;
	}
	cleanup_close int standard_error = deliver_open_stderr();
	if (standard_error >= 0) {
		word.flags |= HELPER_STDERR | (target->verbosity == VERBOSITY_VERBOSE ? HELPER_VERBOSE : 0U);
		files[count++] = standard_error;
	}
	if (send_with(connection, &word, sizeof word, files, count) < 0)
		return error_set_errno(err, errno, REASON_HELPER_GONE, "sending to it");
	return 0;
}

/* Returns the verdict if it is not REFUSED; else -1. */
static int receive_answer(int connection, int timeout_ms, struct error *err)
{
	struct helper_answer answer = {0};
	struct iovec io = {&answer, sizeof answer};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
	struct pollfd poll_fd = {.fd = connection, .events = POLLIN};
	int ready = retry(poll(&poll_fd, 1, timeout_ms));
	if (ready == 0)
		return error_set(err, REASON_HELPER_TIMEOUT, "no answer came within %d ms", timeout_ms);
	ssize_t got = ready < 0 ? -1 : recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
	/* Said first if the helper closed without having read what we sent; an answer may be there all the same. */
	if (got < 0 && errno == ECONNRESET)
		got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
	if (got < 0)
		return error_set_errno(err, errno, REASON_HELPER_GONE, "waiting for the answer");
	if (got == 0)
		return error_set(err, REASON_HELPER_GONE, "it has closed the connection");
	enum helper_verdict verdict;
	if (helper_answer_check(&answer, (size_t)got, &verdict, err) < 0)
		return -1;
	return verdict == HELPER_REFUSED ? -1 : (int)verdict;
}

int helper_ask(const struct overrides *overrides, const struct report_target *target, bool is_filtered, int timeout_ms,
               struct error *err)
{
	const char *path = helper_socket();
	if (!path)
		return error_set(err, REASON_HELPER_ABSENT, "HUGEXEC_HELPER=off");
	if (access(path, F_OK) < 0)
		return error_set_errno(err, errno, REASON_HELPER_ABSENT, "%s", path);
	if (is_filtered && preflight_calls(calls, err) < 0)
		return -1;
	cleanup_close int connection = connect_to(path, err);
	if (connection < 0 || send_request(connection, overrides, err) < 0)
		return -1;
	int verdict = receive_answer(connection, timeout_ms < ANSWER_MS ? timeout_ms : ANSWER_MS, err);
	if (verdict < 0 || (verdict == HELPER_SEIZED_FILTERED && preflight_tracee(err) < 0) ||
	    send_word(connection, target, err) < 0)
		return -1;
	return steal_fd(&connection);
}
