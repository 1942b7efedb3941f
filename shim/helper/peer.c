/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/pidfd.h"
#include "base/proc.h"
#include "base/retry.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * HELPER_FILES_MAX)];
};

/* What arrived beside the data. */
struct ancillary {
	struct ucred sender;
	bool has_sender;
	int files[HELPER_FILES_MAX];
	unsigned file_count;
};

static void read_ancillary(struct msghdr *message, struct ancillary *out)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		if (part->cmsg_level != SOL_SOCKET)
			continue;
		size_t bytes = part->cmsg_len - CMSG_LEN(0);
		if (part->cmsg_type == SCM_CREDENTIALS && bytes == sizeof out->sender) {
			memcpy(&out->sender, CMSG_DATA(part), bytes);
			out->has_sender = true;
		} else if (part->cmsg_type == SCM_RIGHTS) {
			for (size_t at = 0; at + sizeof(int) <= bytes && out->file_count < HELPER_FILES_MAX;
			     at += sizeof(int))
				memcpy(&out->files[out->file_count++], CMSG_DATA(part) + at, sizeof(int));
		}
	}
}

/* The PID of the process that our pidfd FD stands for, as the kernel tells it; -1 if it tells none. */
static long pid_of(int fd)
{
	char path[64];
	cleanup_free char *text = NULL;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	if (read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &text, NULL) < 0)
		return -1;
	uint64_t pid;
	return proc_u64(text, "Pid", 10, &pid) == 0 ? (long)pid : -1;
}

uid_t peer_uid(int connection)
{
	struct ucred connected;
	socklen_t bytes = sizeof connected;
	return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &connected, &bytes) < 0 ? (uid_t)-1 : connected.uid;
}

static int check_identity(const struct peer *peer, struct error *err)
{
	int connection = peer->connection;
	struct ucred connected;
	socklen_t bytes = sizeof connected;
	pid_t pid = peer->sender.pid;
	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &connected, &bytes) < 0)
		return error_set_errno(err, errno, REASON_HELPER_IDENTITY, "SO_PEERCRED");
	if (pid <= 0 || connected.pid != pid)
		return error_set(err, REASON_HELPER_IDENTITY, "process %d sends over a connection of process %d",
		                 (int)pid, (int)connected.pid);
	long named = pid_of(peer->pidfd);
	if (named != pid)
		return error_set(err, REASON_HELPER_IDENTITY, "process %d did not send a pidfd of itself (%ld)",
		                 (int)pid, named);
	/* The connection's own pidfd is that very process, even if its PID has been used again since. */
	int connected_pidfd = -1;
	bytes = sizeof connected_pidfd;
	if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &connected_pidfd, &bytes) == 0) {
		cleanup_close int owned = connected_pidfd;
		if (pidfd_has_ended(owned) || pid_of(owned) != pid)
			return error_set(err, REASON_HELPER_IDENTITY, "the process that connected is gone");
	} else if (errno != ENOPROTOOPT) {
		return error_set_errno(err, errno, REASON_HELPER_IDENTITY, "SO_PEERPIDFD");
	}
	if (pidfd_has_ended(peer->pidfd))
		return error_set(err, REASON_HELPER_IDENTITY, "process %d has ended", (int)pid);
	return 0;
}

/* Take one message, with all that came beside it. Returns its bytes, at most CAPACITY; or -1 with ERR. */
static ssize_t receive(int connection, void *data, size_t capacity, struct ancillary *ancillary, struct error *err)
{
	union control control = {0};
	struct iovec io = {data, capacity};
	struct msghdr message = {
	    .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got < 0)
		return error_set_errno(err, errno, REASON_HELPER_REQUEST, "receiving it");
	read_ancillary(&message, ancillary);
	if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
		return error_set(err, REASON_HELPER_REQUEST, "too much at once");
	if (!ancillary->has_sender)
		return error_set(err, REASON_HELPER_REQUEST, "it came without credentials");
	return got;
}

int peer_receive(struct peer *peer, int connection, int timeout_ms, struct error *err)
{
	*peer = (struct peer){.connection = connection, .pidfd = -1, .report_fd = -1, .stderr_fd = -1};
	static const int on = 1;
	if (setsockopt(connection, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
		return error_set_errno(err, errno, REASON_HELPER_IDENTITY, "SO_PASSCRED");
	struct pollfd poll_fd = {.fd = connection, .events = POLLIN};
	if (retry(poll(&poll_fd, 1, timeout_ms)) == 0)
		return error_set(err, REASON_HELPER_TIMEOUT, "the client sent no request within %d ms", timeout_ms);
	char data[sizeof peer->request];
	struct ancillary ancillary = {0};
	ssize_t got = receive(connection, data, sizeof data, &ancillary, err);
	if (got < 0 || helper_request_check(data, (size_t)got, ancillary.file_count, &peer->request, err) < 0)
		return -1;
	peer->pidfd = ancillary.files[0];
	peer->sender = ancillary.sender;
	return check_identity(peer, err);
}

bool peer_has_said_the_word(struct peer *peer)
{
	struct helper_word word;
	char data[sizeof word];
	struct ancillary ancillary = {0};
	ssize_t got = receive(peer->connection, data, sizeof data, &ancillary, NULL);
	if (got < 0 || helper_word_check(data, (size_t)got, ancillary.file_count, &word, NULL) < 0 ||
	    ancillary.sender.pid != peer->sender.pid)
		return false;
	unsigned next = 0;
	peer->flags = word.flags;
	if (word.flags & HELPER_REPORT)
		peer->report_fd = ancillary.files[next++];
	if (word.flags & HELPER_STDERR)
		peer->stderr_fd = ancillary.files[next++];
	return true;
}
