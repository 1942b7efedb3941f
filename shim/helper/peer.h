/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - who asks, and for what: one connection's request, taken from the socket and believed only as far as the
 * kernel vouches for it.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/error.h"
#include "helper/protocol.h"

struct peer {
	int connection;
	struct helper_request request;
	struct ucred sender; /* of the message, as the kernel says: PID and ids as seen from here */
	int pidfd;           /* the sender's own */
	uint32_t flags;      /* of its word */
	int report_fd;       /* -1: no report wanted, or the word is not there yet */
	int stderr_fd;       /* -1: nothing wanted there */
};

/*
 * Wait for the request on CONNECTION, TIMEOUT_MS at most, and check it and its sender.
 *
 * The sender is the process that the pidfd stands for: the credentials of the message (which only a process that rules
 * over that PID namespace could forge, for a process of that namespace), those of the connection, and the kernel's name
 * for the pidfd must all say the same, and the process must be alive. So neither somebody else's pidfd, nor a
 * connection that was handed on, nor a PID that was used again gets through.
 *
 * Returns 0; or -1 with ERR, words "helper-timeout", "helper-request", "helper-identity". Files that came are closed
 * only when the process ends.
 */
int peer_receive(struct peer *peer, int connection, int timeout_ms, struct error *err);

/* Whether the client has said that it executes now; then what came with its word is in PEER. Does not wait. */
bool peer_has_said_the_word(struct peer *peer);

/* The uid at the other end of CONNECTION when it was made; -1 if that is not known. */
uid_t peer_uid(int connection);
