/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/entry_wait.h"

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
		if (followed->stage == FOLLOWED_TO_ENTRY && (!next_us || followed->entry_look_us < next_us))
			next_us = followed->entry_look_us;
	}
	return next_us;
}

enum next entry_wait_look(struct followed *followed)
{
	const struct tracee *tracee = &followed->tracee;
	int64_t now = now_us();
	if (now < followed->entry_look_us)
		return NEXT_NOTHING;
	look_later(followed, now);
	bool is_near = entry_stop_is_near(tracee);
	if (tracee->state == TRACEE_DETACHED)
		return is_near ? NEXT_SEIZE : entry_stop_is_ahead(tracee) ? NEXT_NOTHING : NEXT_ABANDON;
	if (entry_stop_is_hidden(tracee))
		return NEXT_ABANDON; /* else it would wait in vain, and spin for it */
	return is_near || now - followed->entry_since_us > TRACED_US ? NEXT_INTERRUPT : NEXT_NOTHING;
}

enum next entry_wait_stopped(struct followed *followed, bool in_group_stop)
{
	bool is_near = entry_stop_is_near(&followed->tracee);
	if (is_near && !in_group_stop && ++followed->entry_stops >= STOPS_MAX)
		return NEXT_ABANDON;
	if (!is_near && now_us() - followed->entry_since_us > TRACED_US)
		return NEXT_WATCH;
	return in_group_stop ? NEXT_STAY : NEXT_RUN_ON;
}
