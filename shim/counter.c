/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-counter - counts the launches of users who may not write the host's counters (report/count_message.h).
 *
 *   hugexec-counter.socket -> datagram -> checked -> METRICS_FILE
 *
 * systemd starts it with the socket when a datagram comes; it ends when none has come for a while, and what comes
 * meanwhile waits in the socket.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <systemd/sd-daemon.h>

#include "report/count_message.h"

#define IDLE_S  60
#define HOLD_US 10000

static void on_alarm(int number)
{
	(void)number;
}

/*
 * A datagram may carry descriptors. The kernel closes them as we have no room for them, and to close a TCP socket that
 * lingers (SO_LINGER) is to wait for as long as its sender says. A signal ends that; more than one, as the first may
 * come before.
 */
static ssize_t receive(int fd, struct msghdr *message)
{
	const struct itimerval ticks = {.it_interval = {.tv_usec = HOLD_US}, .it_value = {.tv_usec = HOLD_US}};
	const struct itimerval none = {0};
	if (setitimer(ITIMER_REAL, &ticks, NULL) < 0)
		return -1;
	ssize_t bytes = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	setitimer(ITIMER_REAL, &none, NULL);
	return bytes;
}

/* Takes one datagram, if there is one. */
static void take_one(int fd, const char *file)
{
	char data[sizeof(struct count_message) + 1];
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec vec = {.iov_base = data, .iov_len = sizeof data};
	struct msghdr message = {
	    .msg_iov = &vec, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t bytes = receive(fd, &message);
	if (bytes < 0)
		return;
	struct ucred sender;
	struct count count;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
	    header->cmsg_len != CMSG_LEN(sizeof sender))
		return;
	memcpy(&sender, CMSG_DATA(header), sizeof sender);
	if (count_message_check(data, (size_t)bytes, &sender, &count))
		metrics_add_count(file, &count, sender.uid);
}

int main(int argc, char **argv)
{
	const char *file = argc == 2 ? argv[1] : METRICS_FILE;
	int on = 1, fd = SD_LISTEN_FDS_START;
	const struct sigaction alarm = {.sa_handler = on_alarm};
	if (argc > 2 || sd_listen_fds(1) != 1 || sd_is_socket_unix(fd, SOCK_DGRAM, -1, NULL, 0) <= 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 || sigaction(SIGALRM, &alarm, NULL) < 0) {
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
		take_one(fd, file);
		/* While there is something to take, ppoll(2) lets no signal through. */
		sigprocmask(SIG_SETMASK, &before, NULL);
		sigprocmask(SIG_BLOCK, &term, NULL);
	}
	return EXIT_SUCCESS;
}
