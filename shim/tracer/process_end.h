/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_end.h - whether a thread that comes to its PTRACE_EVENT_EXIT is the end of its process.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

bool process_has_thread(pid_t pid, pid_t tid);

/* Whether the thread TID, stopped, is in exit_group(2). */
bool thread_is_in_exit_group(pid_t tid);

/*
 * Whether the thread TID of PID, a tracee at its PTRACE_EVENT_EXIT, ends together with all of its process. It may also
 * end alone, or because another one is executing over it.
 */
bool thread_ends_with_process(pid_t pid, pid_t tid);
