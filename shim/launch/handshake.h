/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.h - the memory that target and tracer share until the target executes COMMAND (see spawn_tracer.h).
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum handshake { HANDSHAKE_BEGUN, HANDSHAKE_MAY_TRACE, HANDSHAKE_SEIZED, HANDSHAKE_REFUSED };

struct handshake_memory {
	uint32_t handshake;   /* enum handshake; a futex */
	pid_t tracer_pid;     /* if a middle process clones it */
	struct error refusal; /* if HANDSHAKE_REFUSED */
};

/* Set the handshake and wake the other side. */
void handshake_set(struct handshake_memory *shared, enum handshake value);

/* Sleep until the handshake is no longer VALUE, TIMEOUT_MS at most. Returns what it is then. */
enum handshake handshake_wait(struct handshake_memory *shared, enum handshake value, int timeout_ms);
