/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what processes and the children that they have run, for some seconds, without stopping them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ctl/exec_ranges.h"
#include "ctl/touched.h"
#include "host/perf.h"

/* What is beyond is not watched: bounds for what this costs. */
#define WATCHED_PROCESSES_MAX 128
#define WATCHED_THREADS_MAX   256

/*
 * Of each thread's running time. A sample costs up to 50 us when timers are a hypervisor's and the machine is busy: 1.3
 * % (make bench measures it).
 */
#define WATCH_HZ 250

struct watched_process {
	pid_t pid;
	bool is_stale; /* something ran outside of RANGES */
	struct exec_ranges ranges;
};

struct watched_thread {
	pid_t tid;
	size_t process; /* its index */
	bool has_counters;
	struct perf_sampler sampler;
	struct perf_counters counters;
};

struct watch {
	struct watched_process processes[WATCHED_PROCESSES_MAX];
	size_t process_count;
	struct watched_thread threads[WATCHED_THREADS_MAX];
	size_t thread_count;
	struct code_objects objects;
	struct page_counts pages;
	struct itlb_events events;
	bool has_counters; /* all threads have */
	double counts[PERF_COUNTS];
	double seconds;
};

/*
 * Watch PIDS and all that descend from them for SECONDS, or until all of them have ended. Returns 0 (watch_free() it),
 * or -1 with errno: ESRCH if none of them is there, else why the kernel does not let us look.
 */
int watch_run(struct watch *watch, const pid_t *pids, size_t pid_count, double seconds);

void watch_free(struct watch *watch);
