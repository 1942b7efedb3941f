/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datagram.h - one datagram to a server of the host's (the journal, the counter), which the caller does not depend on.
 */
#pragma once

#include <stddef.h>

/* Connect to the socket at PATH. Returns the descriptor; -1 if nobody listens there, or it cannot be had. */
int datagram_open(const char *path);

/*
 * Send the BYTES of DATA on FD, within PATIENCE_MS: a connected socket is writable only while its peer's queue has room
 * (unix_dgram_poll() in the kernel). Nobody is told if they do not arrive.
 */
void datagram_send(int fd, const void *data, size_t bytes, int patience_ms);
