/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry_stop.h - have a program wait for its tracer at its entry point, where ld.so has mapped its libraries.
 *
 * No breakpoint: those in debug registers are accepted and never fire under some hypervisors, perf events are refused
 * in most containers, and an int3 leaves a private page in the text. All of them end in a signal, which a library may
 * have blocked, and which ends the program if its tracer has died. Instead the program waits by itself. ld.so jumps
 * to where AT_ENTRY of the auxiliary vector on the stack points to (glibc, musl). At the exec stop that is made to be a
 * few instructions in a page of its own (arch/, the entry stub), which
 *
 *   1. put AT_ENTRY right again, which also tells the tracer, who looks there now and then, that they are reached;
 *   2. spin while the tracer lives and wants them to, and no longer than a second;
 *   3. if it does not, reap it if it is the program's child: else it would stay a zombie;
 *   4. jump to the entry point.
 *
 * The tracer finds the program at 2, takes the page away and lets it go on at its entry point. No signal and no
 * system call play a part in it, and neither do the program's signal mask and handlers.
 *
 * Nobody is needed for the program to go on. The word that says that the tracer wants it is a robust futex
 * (set_robust_list(2)): the kernel changes it when the tracer dies, however that happens. A child that a library forks
 * before the entry point has the page, too, and passes as soon as its parent was dealt with. An ELF interpreter that
 * takes the entry point from elsewhere passes without any wait; then AT_ENTRY is put right by the tracer when it loses
 * patience.
 *
 * What can be seen until then: getauxval(AT_ENTRY) of a library's constructor is the stub's address (/proc/PID/auxv,
 * which debuggers read, tells the right one), and a page of a memory file is mapped, below the program. The page stays
 * if the tracer has died or timed out.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "ptrace/tracee.h"

struct entry_stop;

/*
 * Have TRACEE wait at its entry point. TRACEE: STOPPED at the exit of execve, its AT_BASE not 0 (a program without ELF
 * interpreter stands at its entry point already). ZOMBIE_PID: our number as the tracee sees it, if we are its child,
 * else 0. Returns 0, or -1 with ERR word "no-breakpoint" and nothing changed
 * (or the tracee GONE).
 */
int entry_stop_set(struct tracee *tracee, pid_t zombie_pid, struct error *err);

/* Whether TRACEE, which runs, has come to its entry point: it is time to stop it. May be asked by who does not trace
 * it. */
bool entry_stop_is_near(const struct tracee *tracee);

/*
 * Whether TRACEE's memory can no longer be read: a library has called prctl(PR_SET_DUMPABLE), or become another user,
 * and we are not root. Nothing can be done about its libraries, and it cannot be seen when it comes to its entry point.
 */
bool entry_stop_is_hidden(const struct tracee *tracee);

/* Whether TRACEE, which runs, is still to come to its entry point: it has neither passed it nor become another program.
 */
bool entry_stop_is_ahead(const struct tracee *tracee);

/*
 * Whether TRACEE, stopped with no signal to deliver, waits in the stub. If so it is put at its entry point, the page is
 * unmapped (it stays under a seccomp filter that a library has set and that we may not suspend, and for
 * entry_stop_hand_off()), and the stop is over.
 * State after: STOPPED, or GONE.
 */
bool entry_stop_take(struct tracee *tracee);

/*
 * If TRACEE, which entry_stop_take() has put at its entry point, still has the stub, because only there it can reap us
 * (ARCH_RESULT_IS_SEEN): have it go on where it does that. Returns whether that is so; then the state is DETACHED, and
 * we must _exit() at once: our end lets it go.
 */
bool entry_stop_hand_off(struct tracee *tracee);

/*
 * Nobody waits for TRACEE any more, wherever it is: running, stopped, another program, gone. If it is still on the way
 * to its entry point, AT_ENTRY is put right, and the stub is passed without a wait. We must _exit() soon, if we are
 * its child. Under a seccomp filter that a library has set, which might kill for a wait, we stay its zombie.
 */
void entry_stop_drop(struct tracee *tracee);
