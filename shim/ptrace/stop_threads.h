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
 * only while its file is open and while it takes the place of the text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ptrace/seize_threads.h"
#include "ptrace/tracee.h"

struct running_process {
	struct tracee main; /* STOPPED; main.process is this */
	struct seized others;
	bool failed;      /* they could not be stopped: not tried again */
	uint64_t held_us; /* for how long all threads stood, in all */
	int64_t held_since_us;
};

/*
 * Attach to PID and stop its main thread; within TIMEOUT_MS, or it waits for a dead disk, or for the child of a
 * vfork(2). Returns 0: PROCESS->main can be given to the engine; PROCESS must stay where it is,
 * and running_process_release() ends that. Or
 * -1 with ERR word "ptrace-refused", "tracee-gone" or "threads-busy"; then a thread that stops later than that is let
 * go by the caller's end only, which should be soon.
 */
int running_process_seize(pid_t pid, unsigned timeout_ms, struct running_process *process, struct error *err);

/* Let all threads go on from where they were, and detach from them. */
void running_process_release(struct running_process *process);

/*
 * Stop all threads beside MAIN_THREAD, which has a process. Returns 0, or -1 with ERR: word "threads-busy",
 * "ptrace-refused", or "tracee-gone" if one of them has executed another program meanwhile; then they run.
 */
int other_threads_stop(struct tracee *main_thread, struct error *err);

/* Let them go on. */
void other_threads_start(struct tracee *main_thread);

/* As waitpid(2) for MAIN_THREAD, which runs, while the others may end or execute a program. */
pid_t other_threads_wait(struct tracee *main_thread, int *status);
