/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aside.h - work that may hang or die, done by a child that the caller does not depend on.
 *
 * The child is a copy of the caller with no exit signal, so that nobody but the caller can hear of it. It ignores
 * SIGPIPE, SIGXFSZ and SIGTTOU, and is killed when its time is over, a second or two later if the caller has gone.
 * One that does not end even so, because it waits for a disk where no signal reaches it, is left behind and ends as
 * soon as it can.
 */
#pragma once

#include <stdbool.h>

/*
 * Whether the caller may have children. After `unshare --pid` without --fork its first one becomes PID 1 of the new
 * namespace, and when that ends nobody can fork there any more: it must not be ours. False if /proc does not tell.
 */
bool aside_is_possible(void);

/*
 * Run WORK(CONTEXT) in a child, TIMEOUT_MS at most, or until the process of WATCHED_PIDFD (-1: none) has ended. The
 * caller must have no other thread. Returns what WORK does (0 to 255); -1 with errno if that is not known: EAGAIN
 * (no child can be started), ETIMEDOUT (it was killed for its time or because WATCHED_PIDFD has ended), ECHILD (it
 * was killed by somebody else).
 */
int aside(int (*work)(void *context), void *context, int timeout_ms, int watched_pidfd);

/*
 * For WORK: from here on SIGKILL ends it with its caller. If it is not called the child may go on for a second or
 * two (a filter of the workload's may kill for prctl(2)), or for ever if all signals are blocked.
 */
void aside_die_with_caller(void);

/* Whether the calling process has had a child, of whatever kind: no filter that it is under kills for that. */
bool aside_is_proven(void);

/* It has had one that aside() knows nothing of. */
void aside_prove(void);

/* Whether the calling process is such a child. */
bool aside_is_child(void);
