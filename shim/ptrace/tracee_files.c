/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/tracee_files.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/memfd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/missing.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "ptrace/inject.h"

/* What the tracee's calls read and write in its memory. */
struct passing {
	int sockets[2];
	struct msghdr message;
	union {
		struct cmsghdr header; /* aligns the bytes */
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

_Static_assert(sizeof(struct passing) <= TRACEE_PASS_BYTES, "room in the tracee");

/*
 * MFD_NOEXEC_SEAL is about the file's mode only, mapping it executable is still allowed; with it vm.memfd_noexec may be
 * 0, 1 or 2 (6.3 and newer; older kernels say EINVAL). A path may be too long for a name; that of the platform is not.
 */
int64_t tracee_memfd_create(struct tracee *tracee, unsigned flags, struct error *err)
{
	const uint64_t names[] = {tracee_auxv(tracee, AT_EXECFN), tracee_auxv(tracee, AT_PLATFORM)};
	const unsigned extra_flags[] = {MFD_NOEXEC_SEAL, 0};
	int64_t result = -EINVAL;
	flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
	for (unsigned name = 0; name < 2; name++) {
		for (unsigned extra = 0; extra < 2 && result == -EINVAL && names[name]; extra++)
			result = remote_syscall(tracee, err, SYS_memfd_create, names[name], flags | extra_flags[extra],
			                        0, 0, 0, 0);
	}
	return result;
}

int tracee_fetch_fd(pid_t pid, int tracee_fd, struct error *err)
{
	int fd = pidfd_take(pid, tracee_fd);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_REMAP, "pidfd_getfd");
	return fd;
}

/*
 * Read what a call of the tracee's has told in its memory: numbers of descriptors, which have to be closed there. By
 * another way if the usual one fails; if both do, the tracee cannot be left as it was, and is ended.
 */
static int read_told(struct tracee *tracee, uint64_t tracee_addr, void *buf, size_t bytes)
{
	char path[64];
	if (tracee_read(tracee, tracee_addr, buf, bytes) == (ssize_t)bytes)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/mem", (int)tracee->pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && pread(fd, buf, bytes, (off_t)tracee_addr) == (ssize_t)bytes)
		return 0;
	tracee_kill(tracee);
	return -1;
}

/* Send FD into the socket that PID has open as TRACEE_FD. Without a byte beside it: a datagram may be empty. */
static int send_file(pid_t pid, int tracee_fd, int fd)
{
	struct passing passing = {0};
	cleanup_close int socket_fd = tracee_fetch_fd(pid, tracee_fd, NULL);
	if (socket_fd < 0)
		return -1;
	passing.message.msg_control = passing.control.bytes;
	passing.message.msg_controllen = sizeof passing.control.bytes;
	struct cmsghdr *header = CMSG_FIRSTHDR(&passing.message);
	*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return retry(sendmsg(socket_fd, &passing.message, MSG_DONTWAIT | MSG_NOSIGNAL)) == 0 ? 0 : -1;
}

/* Have the tracee receive from its SOCKET_FD. The number of its descriptor, or -1. */
static int receive_file(struct tracee *tracee, int socket_fd, uint64_t scratch_addr)
{
	struct passing passing = {0};
	uint64_t control_addr = scratch_addr + offsetof(struct passing, control);
	uint64_t message_addr = scratch_addr + offsetof(struct passing, message);
	passing.message.msg_control = (void *)(uintptr_t)control_addr; // NOLINT(performance-no-int-to-ptr)
	passing.message.msg_controllen = sizeof passing.control.bytes;
	if (tracee_write(tracee, scratch_addr, &passing, sizeof passing) != sizeof passing ||
	    remote_syscall(tracee, NULL, SYS_recvmsg, (uint64_t)socket_fd, message_addr,
	                   MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0) != 0 ||
	    read_told(tracee, control_addr, &passing.control, sizeof passing.control) < 0)
		return -1;
	int fd = -1;
	if (passing.control.header.cmsg_len == CMSG_LEN(sizeof fd) && passing.control.header.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&passing.control.header), sizeof fd);
	return fd;
}

int tracee_pass_file(struct tracee *tracee, int fd, uint64_t scratch_addr, struct passed_file *passed)
{
	*passed = (struct passed_file){-1, {-1, -1}};
	if (remote_syscall(tracee, NULL, SYS_socketpair, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, scratch_addr, 0, 0) !=
	        0 ||
	    read_told(tracee, scratch_addr, passed->sockets, sizeof passed->sockets) < 0)
		return -1;
	fault_point("pass-opened");
	if (send_file(tracee->pid, passed->sockets[0], fd) == 0)
		passed->fd = receive_file(tracee, passed->sockets[1], scratch_addr);
	fault_point("pass-received");
	if (passed->fd < 0)
		tracee_close_passed(tracee, passed);
	return tracee->state == TRACEE_INJECTING ? passed->fd : -1;
}

/*
 * The kernel gives out the lowest numbers that are free, so that the three mostly stand in a row, with nobody else's
 * between them: one call then (close_range(2), Linux 5.9). To close one twice does no harm: nothing else runs that
 * could have opened another of its number.
 */
void tracee_close_passed(struct tracee *tracee, const struct passed_file *passed)
{
	const int fds[] = {passed->sockets[0], passed->sockets[1], passed->fd};
	int lowest = INT_MAX, highest = -1, count = 0;
	for (int i = 0; i < 3; i++) {
		if (fds[i] < 0)
			continue;
		lowest = fds[i] < lowest ? fds[i] : lowest;
		highest = fds[i] > highest ? fds[i] : highest;
		count++;
	}
	bool in_a_row = count > 0 && highest - lowest == count - 1;
	if (in_a_row && tracee->state == TRACEE_INJECTING &&
	    remote_syscall(tracee, NULL, SYS_close_range, (uint64_t)lowest, (uint64_t)highest, 0, 0, 0, 0) == 0)
		return;
	for (int i = 0; i < 3 && tracee->state == TRACEE_INJECTING; i++) {
		if (fds[i] >= 0)
			remote_syscall(tracee, NULL, SYS_close, (uint64_t)fds[i], 0, 0, 0, 0, 0);
	}
}
