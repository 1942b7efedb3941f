/*
 * exec_event.h - one followed process at one exec: facts, decision, engine, report, and what becomes of it.
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

enum considered {
	CONSIDERED_LET_GO, /* dealt with and released (or gone); where it is the root the caller must _exit() now */
	CONSIDERED_FOLLOW, /* nothing done: it may become another program */
};

/* FOLLOWED has just executed (state IN_EXEC). SETTINGS: those in force for it, with "follow" as it is for this program.
 */
enum considered consider(struct following *following, struct followed *followed, struct settings *settings);

/* FOLLOWED has come to its entry point (state STOPPED), and ld.so has mapped its libraries. */
enum considered consider_entry(struct following *following, struct followed *followed);

/*
 * FOLLOWED has passed its entry point without a stop: it is let go, with its libraries as they are (state LET_GO or
 * GONE). We are left its zombie where we are its child.
 */
void consider_missed(struct following *following, struct followed *followed);

/* FOLLOWED, which ran to its entry point, has executed another program before: report what was done to the first. */
void consider_replaced(struct following *following, struct followed *followed);

/* FOLLOWED ends: report why nothing was done. */
void consider_end(struct following *following, struct followed *followed);

/* follow_timeout is over: report for all. */
void consider_timeout(struct following *following);
