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

/* How far a process has come that we follow, or a thread. From its exec stop on it is held, until it runs on or is let
 * go. */
enum followed_stage {
	FOLLOWED_BEFORE,  /* it runs what the root was before COMMAND */
	FOLLOWED_THROUGH, /* it runs a wrapper, or a copy of one; or, where it is waited for, to its entry point */
	FOLLOWED_ASIDE, /* attached by the kernel together with others, and not to be followed: let go at its first stop
	                 */
};

struct followed {
	struct tracee tracee;
	enum followed_stage stage;
	bool is_root;     /* the process that hugexec was started in, or that we came to trace */
	bool has_skipped; /* SKIPPED and SKIPPED_EXE tell why the last program was left alone */
	struct error skipped;
	char *skipped_exe;
	char rule[128];
	uint64_t text_bytes;
	struct report
	    *waiting; /* it runs to its entry point, where its libraries are looked at; then this is finished */
	struct settings waiting_settings;
	int64_t entry_since_us,
	    entry_look_us;    /* CLOCK_MONOTONIC: since when it waits, when to look at it (entry_wait.h) */
	struct map_hint hint; /* while it waits */
	unsigned entry_stops; /* how often it was found elsewhere though it had come to its entry point */
	uint64_t held_us;     /* how long it was held in all, up to now */
};

struct following {
	struct trace_job *job;
	pid_t root_pid;
	int64_t deadline_us; /* CLOCK_MONOTONIC; 0: before the first exec */
	struct followed *list;
	size_t count, capacity;
};
