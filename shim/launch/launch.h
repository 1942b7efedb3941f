/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - the start of COMMAND, as the target has it: what its tracer is to do, how long it waits for it, and where
 * it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "launch/handshake.h"
#include "tracer/trace_job.h"

struct launch {
	struct trace_job job;
	bool libraries;        /* COMMAND may run to its entry point before it is let go */
	bool is_interpreted;   /* COMMAND is a script, so what runs first is another program */
	int64_t began_us;      /* CLOCK_MONOTONIC: the target waits for a tracer since then, */
	int64_t hold_until_us; /* until then at most */
	/* The tracer, from launch_start_tracer() on. */
	pid_t tracer_pid;      /* 0: hugexecd traces the target, by a connection that is open until exec closes it */
	bool tracer_is_orphan; /* it is not the target's child */
	struct handshake_memory *shared;
};
