/* SPDX-License-Identifier: Apache-2.0 */
/*
 * same_processor.h - have a tracee run where we run, while its registers are borrowed.
 *
 * Tracer and tracee never run at the same time, but the scheduler gives whoever is woken an idle processor, and to wake
 * that takes 20 microseconds or more on a virtual machine, and as much to wake us again, while a switch on one
 * processor takes 5. So the affinity of both is this one for as long as the tracee makes calls for us; less long if
 * somebody else turns out to want it.
 *
 * That leaves no trace if it may run on every processor, as nearly every program may: sched_setaffinity(2) with a
 * mask of ones says what the kernel had before (since Linux 6.2 it keeps what was asked for, and a mask of ones takes
 * nothing away from what a cpuset allows, now or later). A tracee with any other affinity is left alone. So is one that
 * runs already, and nothing is done under a seccomp filter, which might kill us for the call.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Have the tracee PID, which stands still and does not survive us, and us run on this processor only. Returns whether
 * that was done: then same_processor_end() is due.
 */
bool same_processor_begin(pid_t pid);

/* PID has taken WAITED_US to its next stop. Returns whether that is too long: somebody else wants our processor. */
bool same_processor_is_crowded(int64_t waited_us);

/* Give both every processor back. Returns 0, or -1 if that is impossible: PID must not run then. */
int same_processor_end(pid_t pid);
