/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/entry_wait.h"

#include <sys/ptrace.h>

#include "base/clock.h"
#include "ptrace/entry_stop.h"

#define FIRST_LOOK_US INT64_C(100)
#define LAST_LOOK_US  INT64_C(20000) /* the interval grows up to here */
#define TRACED_US     INT64_C(500000)

/* So often it may be found elsewhere after it has come to its entry point: in a signal handler, each time. */
#define STOPS_MAX 16

static void look_later(struct followed *followed, int64_t now)
{
	int64_t interval_us = (now - followed->entry_since_us) / 16;
	interval_us = interval_us < FIRST_LOOK_US ? FIRST_LOOK_US : interval_us;
	followed->entry_look_us = now + (interval_us > LAST_LOOK_US ? LAST_LOOK_US : interval_us);
}

void entry_wait_begin(struct followed *followed)
{
	followed->entry_since_us = now_us();
	followed->entry_stops = 0;
	look_later(followed, followed->entry_since_us);
}

int64_t entry_wait_next_us(const struct following *following)
{
	int64_t next_us = 0;
	for (size_t i = 0; i < following->count; i++) {
		const struct followed *followed = &following->list[i];
		if (followed->waiting && (!next_us || followed->entry_look_us < next_us))
			next_us = followed->entry_look_us;
	}
	return next_us;
}

/* A filter may refuse that. */
static enum entry_wait stop(const struct tracee *tracee)
{
	return ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0) < 0 ? ENTRY_MISSED : ENTRY_ON_THE_WAY;
}

/* Of one that is not traced. */
static enum entry_wait look_from_afar(struct followed *followed)
{
	struct tracee *tracee = &followed->tracee;
	if (!entry_stop_is_near(tracee))
		return entry_stop_is_ahead(tracee) ? ENTRY_ON_THE_WAY : ENTRY_MISSED;
	if (ptrace(PTRACE_SEIZE, tracee->pid, 0, tracee->options) < 0)
		return ENTRY_MISSED;
	tracee->state = TRACEE_RUNNING;
	return stop(tracee);
}

enum entry_wait entry_wait_look(struct followed *followed)
{
	int64_t now = now_us();
	if (now < followed->entry_look_us)
		return ENTRY_ON_THE_WAY;
	look_later(followed, now);
	if (followed->tracee.state == TRACEE_DETACHED)
		return look_from_afar(followed);
	if (entry_stop_is_hidden(&followed->tracee))
		return ENTRY_MISSED; /* else it would wait in vain, and spin for it */
	if (entry_stop_is_near(&followed->tracee) || now - followed->entry_since_us > TRACED_US)
		return stop(&followed->tracee);
	return ENTRY_ON_THE_WAY;
}

bool entry_wait_gives_up(struct followed *followed)
{
	if (now_us() - followed->entry_since_us <= TRACED_US || entry_stop_is_near(&followed->tracee))
		return false;
	tracee_detach(&followed->tracee);
	return true;
}

enum entry_wait entry_wait_stopped(struct followed *followed)
{
	struct tracee *tracee = &followed->tracee;
	if (entry_stop_take(tracee))
		return ENTRY_REACHED;
	if (entry_stop_is_near(tracee) && ++followed->entry_stops >= STOPS_MAX)
		return ENTRY_MISSED;
	entry_wait_gives_up(followed);
	return ENTRY_ON_THE_WAY;
}
