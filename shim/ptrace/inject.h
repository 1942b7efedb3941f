/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject.h - run system calls in a tracee: borrow its registers, call, give them back; or hand off.
 *
 * tracee.h tells the states. Between inject_begin() and inject_end() the death of the tracer kills the tracee.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "ptrace/tracee.h"

/*
 * Save registers and signal mask, block all signals, find the syscall instruction. State must be STOPPED. Whatever
 * ptrace(2) requests will be needed are made once without a change, because a filter may refuse them: returns -1 then,
 * ERR word "not-native", "ptrace", "no-vdso" or "tracee-gone", and nothing has changed, but that the state may be GONE.
 * (Setting the mask comes last: if only that is refused, the options are set back.)
 */
int inject_begin(struct tracee *tracee, struct error *err);

/*
 * Run system call NR in the tracee, with up to six arguments (addresses are the tracee's). State must be INJECTING.
 * Returns the kernel's result (-errno for an error of the call), or INT64_MIN if the tracee is GONE, with ERR set:
 * it has been killed, by somebody or by us, because what has come of the call cannot be told. A call that a stop signal
 * interrupted is made again.
 */
int64_t remote_syscall(struct tracee *tracee, struct error *err, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5);

/*
 * Give registers and signal mask back, take EXITKILL off. What becomes of a system call that the stop of a program that
 * runs has cut short is left to the kernel: to be let go sends a thread past its signals, where the registers tell that
 * there was a call, which is made again, or ended by a handler (__ptrace_unlink(), arch_do_signal_or_restart()). If
 * that is impossible the tracee is killed: it must never run with our registers. Returns 0, or -1 with ERR; then the
 * state is GONE.
 */
int inject_end(struct tracee *tracee, struct error *err);

/*
 * Let go of a tracee that is our parent and stands at the exit of execve or at its entry point, so that it reaps us
 * before it goes on.
 *
 * The tracee is led to the entry of waitid(P_PID, us) with all other registers set to their final values; the registers
 * that the call needs (its arguments, and its result) are those in which a new program finds nothing it may rely on,
 * and what it does find there are small numbers. If the program finds the result (ARCH_RESULT_IS_SEEN), that is 0
 * there, as at the exit of execve; at an entry point it may be something else, and entry_stop_hand_off() is the way
 * then; and a tracee that ignores SIGCHLD, for which the result would be an error, is let go by our end alone. The
 * caller must then _exit() at once, and only exiting lets the tracee go: in exit_notify() the kernel detaches tracees
 * and turns the tracer into a zombie under one lock (Linux 3.8 to 6.18 read, kernel/exit.c), so that the waitid finds
 * it there and never sleeps; no signal can interrupt a wait that does not sleep.
 *
 * The kernel sends SIGCHLD for us although we were cloned without an exit signal, because the tracee has executed
 * another program since (do_notify_parent()). By default it is dropped; a tracee that blocks it would find it pending,
 * which is why such a tracee gets a tracer that is not its child (spawn_tracer.h).
 *
 * The call is under the tracee's seccomp filters, suspended or not: if one is FILTER_NEW the caller leaves a zombie
 * rather than have it kill for waitid.
 *
 * TRACER_PID: our PID as the tracee sees it.
 * Returns 0 (state DETACHED: exit now); -1 with ERR: the tracee is untouched (STOPPED) or GONE, exiting leaves it a
 * zombie.
 */
int tracee_hand_off(struct tracee *tracee, pid_t tracer_pid, struct error *err);

/*
 * Where BYTES lie below the stack of a program that has not run yet: memory of its own that it cannot have used, below
 * the red zone. Whoever uses it looks first whether it is zero and leaves it zero. TRACEE: INJECTING.
 */
uint64_t tracee_scratch(const struct tracee *tracee, uint64_t bytes);
