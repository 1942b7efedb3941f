/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-counter - counts the launches of users who may not write the host's counters (report/count_message.h).
 *
 *   hugexec-counter.socket -> datagram -> checked -> METRICS_FILE
 *
 * systemd starts it with the socket when a datagram comes; it ends when none has come for a while, and what comes
 * meanwhile waits in the socket.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "report/count_message.h"

#define IDLE_S 60

/* Takes one datagram. Returns false if there is none, or it is no longer possible. */
static bool take_one(int fd, const char *file)
{
	char data[sizeof(struct count_message) + 1];
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec vec = {.iov_base = data, .iov_len = sizeof data};
	struct msghdr message = {
	    .msg_iov = &vec, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t bytes = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (bytes < 0)
		return errno == EINTR;
	struct ucred sender;
	struct count count;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
	    header->cmsg_len != CMSG_LEN(sizeof sender))
		return true;
	memcpy(&sender, CMSG_DATA(header), sizeof sender);
	if (count_message_check(data, (size_t)bytes, &sender, &count))
		metrics_add_count(file, &count, sender.uid);
	return true;
}

int main(int argc, char **argv)
{
	const char *file = argc == 2 ? argv[1] : METRICS_FILE;
	int on = 1, fd = SD_LISTEN_FDS_START;
	if (argc > 2 || sd_listen_fds(1) != 1 || sd_is_socket_unix(fd, SOCK_DGRAM, -1, NULL, 0) <= 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) {
		fputs("hugexec-counter: not started with a datagram socket: start hugexec-counter.socket instead\n",
		      stderr);
		return EXIT_FAILURE;
	}
	metrics_begin(file);
	/* Ended between two datagrams only: one that was taken is counted. */
	sigset_t term, before;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	const struct timespec idle = {.tv_sec = IDLE_S};
	while (ppoll(&poll_fd, 1, &idle, &before) == 1) {
		while (take_one(fd, file))
			;
	}
	return EXIT_SUCCESS;
}
