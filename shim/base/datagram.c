/* SPDX-License-Identifier: Apache-2.0 */
#include "base/datagram.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

int datagram_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (access(path, F_OK) < 0)
		return -1;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return -1;
	return steal_fd(&fd);
}

void datagram_send(int fd, const void *data, size_t bytes, int patience_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
	if (poll(&poll_fd, 1, patience_ms) == 1)
		send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}
