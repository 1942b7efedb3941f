/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open_in_root.h - a file by its name below another root, out of which no link leads.
 */
#pragma once

#include <stdint.h>

/*
 * Open PATH as a process would that has ROOT_FD (O_PATH will do) for its root; magic links of procfs lead nowhere.
 * FLAGS as open(2)'s, without O_CREAT; O_CLOEXEC is added.
 * Returns a descriptor; or -1 with errno: ENOSYS before Linux 5.6, and under a filter that knows openat2(2) not.
 * EAGAIN: while this looked ".." up, somebody renamed or mounted something each time that it tried.
 */
int open_in_root(int root_fd, const char *path, uint64_t flags);
