/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seize_threads.h - attach to all threads of a process that is no relative of ours, so that it does not matter which
 * one executes the program that it will become.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "ptrace/tracee.h"

#define SEIZE_THREADS_MAX 4096

struct seized {
	struct tracee *threads; /* the main thread first; free() them */
	size_t count;
};

/*
 * Attach to PID's threads, and to those that they start from now on, with the ptrace OPTIONS. The process runs on.
 * Returns 0; or -1 with ERR word "ptrace-refused" (also if it has more threads than anybody can follow): then the
 * caller must end, which lets go of those that were seized.
 */
int seize_threads(pid_t pid, long options, struct seized *out, struct error *err);

/*
 * Attach to the threads beside MAIN_THREAD, which is ours, that OTHERS (empty at first) does not have yet, and add
 * them. It also gets those that are ours already, because a thread of ours has started them, and those that are another
 * tracer's: waiting for them tells. Returns 0, or -1 with ERR word "ptrace-refused"; OTHERS->threads is the caller's.
 */
int seize_others(const struct tracee *main_thread, struct seized *others, struct error *err);
