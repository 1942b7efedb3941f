/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reaper.h - who would reap an orphan of ours.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Whether orphans below the calling process become its own children: it is PID 1 of its namespace, or a subreaper. */
bool reaper_is_self(void);

/*
 * Whether an orphan of the calling process's would be reaped. That is up to PID 1 of its PID namespace, or to the
 * nearest subreaper above it, and which processes are subreapers the kernel does not tell. So PID 1 and the parent of
 * the caller, each, must catch, block, wait for or ignore SIGCHLD: who does none of these waits for the children it
 * knows, if at all. The machine's own PID 1 is taken to reap, however it does it. Returns 0, or -1 with ERR word
 * "no-reaper". What reaps none but its own and catches SIGCHLD all the same is not seen.
 */
int reaper_check(struct error *err);
