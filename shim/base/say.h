/* SPDX-License-Identifier: Apache-2.0 */
/*
 * say.h - write what hugexec has to tell to somebody else's file, held by it no longer than asked, and killed by
 * nothing.
 *
 * The file may be a pipe that is full or has no reader, a terminal that ^S has stopped, a socket, a file that has
 * reached its limit. Whoever tells something may be about to execute the workload, or hold it.
 */
#pragma once

#include <stddef.h>

/*
 * Write all BYTES of DATA to FD, waiting for its reader for TIMEOUT_MS at most in all. Lines of PIPE_BUF bytes or less
 * are whole or not there. No signal reaches the caller for it: neither SIGPIPE, SIGXFSZ nor SIGTTOU, and what was
 * pending before still is.
 *
 * Returns 0; -1 with errno set, ETIMEDOUT if the reader takes nothing. Only a disk may hold the caller for longer:
 * what is no pipe, terminal or socket is written to in a child (aside.h).
 */
int say(int fd, const void *data, size_t bytes, int timeout_ms);

#define SAY_MS 500

/* A formatted line to FD, by a child if one can be started; what is too long is cut, errors are nobody's business. */
void say_line(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
