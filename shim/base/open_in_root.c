/* SPDX-License-Identifier: Apache-2.0 */
#include "base/open_in_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES_MAX 200

/*
 * openat2(2), EAGAIN: below a root ".." is only followed if nothing on the whole machine was renamed or mounted
 * meanwhile (fs/namei.c, handle_dots(): mount_lock and rename_lock).
 */
int open_in_root(int root_fd, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd = -1;
	for (int i = 0; i < TRIES_MAX; i++) {
		fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}
