/*
 * bounded.h - work that may wait for a disk, or for a server that does not answer: done by a child that is killed when
 * the time is over.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/*
 * Have a child, a copy of the caller, do WORK(CONTEXT) and end; it dies with the caller. What it finds out must be
 * written to shared memory. Waits TIMEOUT_MS for it, and a tenth of a second more where not even SIGKILL ends it: such
 * a one is left to whoever inherits our children. The child's end sends no signal.
 *
 * Returns 0, with *IN_TIME: whether the child has ended by itself (or by someone else's signal); or -1 with ERR word
 * "process-limit".
 */
int run_bounded(void (*work)(void *context), void *context, unsigned timeout_ms, bool *in_time, struct error *err);
