/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn_tracer.h - target and tracer: how the tracer is created, attaches and goes away.
 *
 * P, the target, is the process that hugexec was started in. It will be the workload: it keeps its PID, parent,
 * session, files and all else, and in the end executes COMMAND. T is the tracer, a child of P made by clone(2) with no
 * exit signal, so that P's SIGCHLD, wait(2) without __WALL and job control never see it. T blocks all signals, closes
 * every file that it inherited, and leaves P's session; it is in P's cgroup and under P's limits, so what it allocates
 * is charged to the workload.
 *
 *   P: clone T; allow it to trace (Yama); wait          T: wait for the word; PTRACE_SEIZE P; say so
 *   P: execvp(COMMAND)                                  T: wait for the exec stop; decide; remap; report
 *   P: stands at the entry of waitid(T)                 T: _exit: lets P go and becomes a zombie in one step
 *   P: reaps T, and runs its first instruction
 *
 * So it is for a COMMAND that is no wrapper. Of a wrapper (policy/wrappers.c) or a script T cannot know whether
 * it will execute anything, or just end, and then nobody would reap T. So T is an orphan from the start, cloned by a
 * middle process that ends at once, and reaped by whoever reaps orphans; letting go of P is a plain detach then. It is
 * started only if PID 1 and the parent of P look as if they reaped (reaper.h). T ends while P ends, at
 * PTRACE_EVENT_EXIT, so that whoever waits for P finds T gone when it hears of that: a service manager that looks for
 * the main process of a daemon sees no process that it did not start. If P itself is the one that reaps orphans, T is
 * always its child: then T stays until P executes what is no wrapper, or ends. A COMMAND whose libraries are wanted
 * runs their constructors before it is let go, which may block SIGCHLD or set a filter: its T is an orphan, too, if
 * somebody reaps, else a child.
 *
 * The word between them is one futex in shared memory, so that not even a file descriptor is needed.
 * If T cannot trace, it says why and exits; P reaps it and executes COMMAND alone. If T dies before the exec stop, P
 * sees that (it looks every few milliseconds) and does the same. If T dies later, the kernel lets P go on, but for the
 * moments in which T had borrowed P's registers: then the kernel kills P. If P's exec fails, P kills T and reaps it
 * (launch_stop_tracer()). If P dies, T is woken by that and exits; an orphan by then, it is reaped by whoever reaps
 * orphans there. If P or T may not trace at all, if P blocks SIGCHLD, which T's end would leave pending, if T
 * could cost a set-uid program behind a wrapper its privileges, or if nobody reaps, hugexecd can do T's work from
 * outside (helper/protocol.h): then there is no T.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "launch/launch.h"

/*
 * Have the calling process traced from its next exec on: by a tracer of its own, or if that cannot be by hugexecd.
 * If a seccomp filter is in force hugexecd is asked first: a filter that kills whoever calls ptrace would kill only
 * the tracer, but leave a line in the audit log and perhaps a core file.
 * If a wrapper cannot be followed by a tracer of our own, nor by hugexecd, a script still gets one for its
 * interpreter alone (job.no_follow). Returns 0; or -1 with ERR and nothing left behind: what kept the own tracer
 * from working, and in the detail what kept hugexecd; word "unprivileged-wrapper" or "no-reaper" for a wrapper; or word
 * "followed-already", if another hugexec traces us and sees to COMMAND.
 */
int launch_begin(struct launch *launch, struct error *err);

/* Whether ERR, of launch_begin(), says that nothing was to be done, rather than that it has failed. */
bool launch_is_skipped(const struct error *err);

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
