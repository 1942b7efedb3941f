/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_stop.h - lead a tracee from one system call stop to the next.
 */
#pragma once

#include "base/error.h"
#include "ptrace/tracee.h"

/*
 * Resume with PTRACE_SYSCALL until the next syscall-entry or -exit stop. Two other stops can come. One is that of
 * SIGSTOP (no other signal is left unblocked): the signal is delivered, so that the kernel keeps the account of who is
 * stopped, and the group stop that follows is overridden; it takes hold again when we let go (__ptrace_unlink()). The
 * other is that of a program which another thread has executed: it has the tracee's number then, and the tracee has
 * gone. Returns 0, or -1 with ERR word "ptrace", or "tracee-gone" and the state GONE.
 */
int tracee_to_syscall_stop(struct tracee *tracee, struct error *err);

/*
 * From PTRACE_EVENT_EXEC to the exit of execve, where registers can be changed (ptrace(2); the kernel writes the result
 * of execve over them on the way). Nothing to do if the state is STOPPED already. Stop signals that arrive are
 * delivered and overridden: they hold again once we let go. Returns 0, or -1 with ERR word "tracee-gone" or "ptrace".
 */
int tracee_finish_exec(struct tracee *tracee, struct error *err);
