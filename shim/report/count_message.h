/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count_message.h - how a launch that may not write METRICS_FILE is counted: it sends one datagram to hugexec-counter,
 * which root's systemd starts when the first one comes.
 *
 * Any user may send any bytes, as with the journal. So: nothing is taken from a datagram but numbers within bounds, a
 * known reason and the name of a rule; whose process it was the kernel says (SCM_CREDENTIALS), and the unit is looked
 * up by that, or by the workload's PID if that is the same user's. A user can make up launches of their own, and take
 * so many rows and no more; never another user's unit. A namespace is a pod's, so only root's launches have one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "report/counters.h"

#define METRICS_SOCKET "/run/hugexec/counter.sock"

struct count_message {
	char magic[8];
	pid_t pid; /* of the workload */
	struct count count;
};

/* Send the count of REPORT to SOCKET. Waits a moment for one that is busy. No error is told: the workload comes first.
 */
void count_message_send(const char *socket, const struct report *report);

/*
 * What the BYTES of a datagram from SENDER count for, into OUT, with the unit. Returns false if it is none that a
 * hugexec of this version sends.
 */
bool count_message_check(const void *data, size_t bytes, const struct ucred *sender, struct count *out);
