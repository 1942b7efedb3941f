/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop_threads.h - a process that runs: one of its threads held, and for moments all of them.
 *
 * Threads are stopped by PTRACE_INTERRUPT, which sends no signal and is seen by nobody: a system call that sleeps is
 * cut short and made again by the kernel, but for those few that end with EINTR whenever their process is stopped and
 * continued (signal(7), "Interruption of system calls and library functions by stop signals": epoll_wait, semop,
 * inotify's read and their like), which programs have to expect. A process that a stop signal has stopped stays
 * stopped.
 *
 * The main thread does the engine's work and stands all the time; the others run on while a copy is made, and stand
 * only while its file is open and while it takes the place of the text (tracee.stop_others).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tracer/seize_threads.h"

struct frozen {
	struct tracee main; /* STOPPED */
	struct seized others;
	bool failed;      /* they could not be stopped: not tried again */
	uint64_t held_us; /* for how long all threads stood, in all */
	int64_t held_since_us;
};

/*
 * Attach to PID and stop its main thread; within TIMEOUT_MS, or it waits for a dead disk, or for the child of a
 * vfork(2). Returns 0: FROZEN->main can be given to the engine; FROZEN must stay where it is, and thaw() ends that. Or
 * -1 with ERR word "ptrace-refused", "tracee-gone" or "threads-busy"; then a thread that stops later than that is let
 * go by the caller's end only, which should be soon.
 */
int freeze(pid_t pid, unsigned timeout_ms, struct frozen *frozen, struct error *err);

/* Let all threads go on from where they were, and detach from them. */
void thaw(struct frozen *frozen);
