/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp_preflight.h - find out, before anything is at stake, whether a seccomp filter lets the engine's system calls
 * through.
 *
 * Target, tracer and workload are under the same filters. A filter may answer a call with an error, which the engine
 * can deal with, or kill the caller, which nobody can. So a child of the tracer first makes every call that the tracer
 * or the tracee will make while registers are borrowed.
 */
#pragma once

#include "base/error.h"

/* Returns 0 if no filter is in force or all calls survive; -1 with ERR word "seccomp". */
int preflight(struct error *err);

/* As preflight() of what the tracee will be made to call: for a tracer that is under no filter itself. */
int preflight_tracee(struct error *err);

/* Have a child make CALLS. Returns 0 if it survives them; -1 with ERR word "seccomp". */
int preflight_calls(void (*calls)(void), struct error *err);
