/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pidfd.h - a process by a descriptor: the number of one that has ended may be another's, its descriptor never is.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A descriptor of process PID (close-on-exec; pidfd_open(2), Linux 5.3), or -1 with errno. */
int pidfd_of(pid_t pid);

/* Whether the process of PIDFD has ended by now, or that cannot be told. */
bool pidfd_has_ended(int pidfd);

/*
 * A descriptor of our own (close-on-exec) of what process PID has open as FD: the same open file (pidfd_getfd(2), Linux
 * 5.6). Or -1 with errno.
 */
int pidfd_take(pid_t pid, int fd);
