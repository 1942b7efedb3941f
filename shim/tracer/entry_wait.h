/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry_wait.h - the time between exec and a program's entry point, while ld.so maps its libraries (entry_stop.h).
 *
 * Nothing tells us that a program has come to its entry point: we look, after a tenth of a millisecond at first, then
 * at intervals of a sixteenth of the time that it has taken so far. It waits for us no longer than that.
 *
 * Nearly all are there after some milliseconds. Until then the program is traced, because it may execute another one
 * instead (programs built with sanitizers do). One that takes longer has a slow disk, a constructor that takes its
 * time, or an ELF interpreter that has passed us by: after half a second it is let go, so that nobody finds it traced.
 * It is still looked at, and seized anew when it comes to its entry point.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tracer/followed.h"

/* FOLLOWED is to stop at its entry point, and about to run. */
void entry_wait_begin(struct followed *followed);

/* When somebody has to be looked at (CLOCK_MONOTONIC); 0: nobody. */
int64_t entry_wait_next_us(const struct following *following);

/* Look at FOLLOWED (TO_ENTRY, running) if it is time to: NOTHING, INTERRUPT, SEIZE, or ABANDON if it was missed. */
enum next entry_wait_look(struct followed *followed);

/*
 * FOLLOWED (TO_ENTRY) has stopped elsewhere, with no signal to deliver; IN_GROUP_STOP: by a stop signal. RUN_ON or
 * STAY, WATCH if it has taken too long, or ABANDON.
 */
enum next entry_wait_stopped(struct followed *followed, bool in_group_stop);
