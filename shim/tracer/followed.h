/* SPDX-License-Identifier: Apache-2.0 */
/*
 * followed.h - the processes that a tracer follows: what trace_loop.c, exec_event.c and entry_wait.c know of each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ptrace/map_hint.h"
#include "ptrace/tracee.h"
#include "report/report.h"
#include "tracer/trace_job.h"

/*
 * Where a process, or a thread, stands that we follow. At an exec stop, and at its entry point, it is held; what comes
 * of that is an enum next. docs/design.md draws the way.
 */
enum followed_stage {
	FOLLOWED_BEFORE,   /* it runs what the root was before COMMAND */
	FOLLOWED_THROUGH,  /* it runs a wrapper, or a copy of one */
	FOLLOWED_TO_ENTRY, /* it runs to its program's entry point, traced or (tracee.state DETACHED) watched */
	FOLLOWED_ASIDE, /* attached by the kernel together with others, and not to be followed: let go at its first stop
	                 */
};

/* What is to become of one. Whoever looks at it returns this, and only trace_loop.c carries it out. */
enum next {
	NEXT_RUN_ON,    /* it runs on, followed */
	NEXT_STAY,      /* in its group stop, until somebody continues it */
	NEXT_NOTHING,   /* it runs already */
	NEXT_INTERRUPT, /* it runs, and is to stop */
	NEXT_SEIZE,     /* it runs untraced, and is to be traced again and to stop */
	NEXT_WATCH,     /* it is detached, but still waited for at its entry point */
	NEXT_LET_GO,    /* nothing more is to be done with it */
	NEXT_ABANDON,   /* the same, and what is pending is told first: its entry point was missed */
	NEXT_FAIL,      /* it is ended before its first instruction */
};

struct library_watch;

struct followed {
	struct tracee tracee;
	enum followed_stage stage;
	bool is_root; /* the process that hugexec was started in, or that we came to trace */
	/*
	 * What is told when it ends, or is let go: THROUGH, why its last program was left alone; TO_ENTRY, what was
	 * done before its libraries (never NULL). NULL: nothing.
	 */
	struct report *pending;
	struct settings entry_settings; /* TO_ENTRY: those of its program */
	int64_t entry_since_us,
	    entry_look_us;           /* CLOCK_MONOTONIC: since when it is TO_ENTRY, when to look at it (entry_wait.h) */
	struct map_hint hint;        /* TO_ENTRY */
	struct library_watch *watch; /* what is waited for when it is let go (library_watch.h); NULL: nothing */
	unsigned entry_stops;        /* how often it was found elsewhere though it had come to its entry point */
	uint64_t held_us;            /* how long it was held in all, up to now */
	int tell_ms; /* how long its report may take to be written: hold_timeout, however long the work may take */
};

struct following {
	const struct trace_job *job;
	pid_t root_pid;
	int64_t deadline_us; /* CLOCK_MONOTONIC; 0: before the first exec */
	struct followed *list;
	size_t count, capacity;
};
