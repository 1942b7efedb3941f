/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn_tracer.h - target and tracer: how the tracer is created, attaches and goes away.
 *
 * The target is the process that hugexec was started in. It will be the workload: it keeps its PID, parent, session,
 * files and all else, and in the end executes COMMAND. The tracer is a child of the target, made by clone(2) with no
 * exit signal, so that the target's SIGCHLD, wait(2) without __WALL and job control never see it. It blocks all
 * signals, closes every file that it inherited, and leaves the target's session. It stays in the target's cgroup and
 * under the target's limits, so what it allocates is charged to the workload.
 *
 *   target                                              tracer
 *   clones the tracer; allows it to trace (Yama)        waits for the word; PTRACE_SEIZE; says so
 *   execvp(COMMAND)                                     waits for the exec stop; decides; remaps; reports
 *   stands at the entry of waitid(tracer)               _exit: releases the target and becomes a zombie in one step
 *   reaps the tracer, and runs its first instruction
 *
 * That is for a COMMAND that is no wrapper. A wrapper (policy/wrappers.c) or a script may also end without executing
 * anything, and then nobody would reap the tracer. So the tracer of a wrapper is an orphan from the start: a middle
 * process clones it and ends at once, and whoever reaps orphans reaps it. It lets go of the target by a plain detach.
 *
 * - An orphan is started only if PID 1 and the parent of the target look as if they reaped (reaper.h).
 * - It ends while the target ends, at PTRACE_EVENT_EXIT, so that it is gone when the target's parent hears of that. A
 *   service manager that looks for the main process of a daemon sees no process that it did not start.
 * - If the target itself reaps orphans, the tracer is always its child. It stays until the target executes what is no
 *   wrapper, or ends.
 * - If the libraries of COMMAND are wanted, their constructors run before the target is let go. They may block SIGCHLD
 *   or set a filter. So the tracer is an orphan then, too, if somebody reaps, else a child.
 * - With coverage "full" such an orphan may let go of the target and stay for libraries that it loads later
 *   (tracer/library_watch.h). Then it ends after the target, so it must be nobody's whom that could confuse.
 *
 * The word between the two is one futex in shared memory, so that not even a file descriptor is needed (handshake.h).
 *
 * - If the tracer cannot trace, it says why and exits. The target reaps it and executes COMMAND alone.
 * - If the tracer dies before the exec stop, the target sees that (it looks every few milliseconds) and does the same.
 * - If the tracer dies later, the kernel lets the target run on. Only while its registers are borrowed does the kernel
 *   kill the target.
 * - If the target's exec fails, the target kills the tracer and reaps it (launch_stop_tracer()).
 * - If the target dies, that wakes the tracer, which exits. It is an orphan by then, and reaped as one.
 *
 * hugexecd can do the tracer's work from outside (helper/protocol.h), and then there is no tracer here. It is asked if
 * target or tracer may not trace at all, if the target blocks SIGCHLD, which the tracer's end would leave pending, if
 * the tracer could cost a set-uid program behind a wrapper its privileges, or if nobody reaps.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "launch/launch.h"

/*
 * Start the tracer and have it attached to the calling process. IS_FILTERED: a seccomp filter may be in force, so a
 * child makes the calls first that this takes. Returns 0; or -1 with ERR and nothing left behind but a tracer that was
 * killed and does not end yet, because it waits for a file where no signal reaches it: words "no-proc",
 * "pid-namespace", "preloaded-threads", "sigchld-blocked", "fork", "ptrace-refused", "ptrace-killed", "tracer-killed",
 * "seccomp".
 */
int launch_start_tracer(struct launch *launch, bool is_filtered, struct error *err);

/*
 * End the tracer and reap it: exec failed. Half a second at most: one that does not end by then is left behind, killed.
 */
void launch_stop_tracer(struct launch *launch);
