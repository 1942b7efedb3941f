/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - the life of a worker of hugexecd: one client, from its request until its program runs.
 */
#pragma once

#include <stdbool.h>

#include "helper/peer.h"

struct worker_options {
	const char *policy_file; /* NULL: the host's policy */
};

/*
 * Serve the client at CONNECTION and end: identify it, attach, answer, and trace it as the tracer of spawn_tracer.h
 * does. TOO_MANY: its user has more workers than one may have; it is told so. Runs in a child that hugexecd.c has just
 * forked.
 */
_Noreturn void worker_main(const struct worker_options *options, int connection, bool too_many);
