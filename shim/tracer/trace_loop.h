/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_loop.h - the tracer's loop: pass events on, ask the policy at each exec, let go when a rule has matched.
 *
 * Between execs a followed process hardly notices: signals are passed on as they come, stops stay stops.
 */
#pragma once

#include "ptrace/tracee.h"
#include "tracer/trace_job.h"

/*
 * Follow a process that was just seized, all COUNT of its THREADS (the first is the main one), until a rule matches
 * what it executes, it ends, or follow_timeout is over; with "follow": "fork" its descendants too. Until it executes
 * something it may start and end threads (with PTRACE_O_TRACECLONE in their options), and any of them may be the one
 * that executes. Ends the calling process.
 */
_Noreturn void follow(const struct trace_job *job, const struct tracee *threads, size_t count);
