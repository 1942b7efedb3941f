/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf.h - what perf_event_open(2) tells of a thread that runs: where it is, sampled, and what it misses, counted.
 * Nothing of it stops the thread. User mode only, which a user may see of processes of its own if
 * kernel.perf_event_paranoid is 2 or less.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/tlb.h"

/* Instruction pointers, by the clock of the thread's own running time: needs no counters, and works in every guest. */
struct perf_sampler {
	int fd;
	void *ring;
	size_t ring_bytes;
};

/* HZ samples a second of running time. Returns 0, or -1 with errno. */
int perf_sampler_open(pid_t tid, unsigned hz, struct perf_sampler *out);

/* Hand every sample since the last time to TAKE. More than 100 ms or so of a busy thread and some are lost. */
void perf_sampler_drain(struct perf_sampler *sampler, void (*take)(void *context, uint64_t ip), void *context);

void perf_sampler_close(struct perf_sampler *sampler);

enum perf_count { COUNT_CYCLES, COUNT_INSTRUCTIONS, COUNT_WALKS, COUNT_WALK_CYCLES, COUNT_FIRST_MISSES, PERF_COUNTS };

struct perf_counters {
	int fds[PERF_COUNTS]; /* -1: the processor has none of it */
};

/*
 * Count from now on; IS_TREE: with all threads and children that it starts from now on, which are counted when they
 * have ended. Returns 0; -1 with errno if there are no counters here, or not as many as are needed: cycles,
 * instructions and walks.
 */
int perf_counters_open(pid_t tid, const struct itlb_events *events, bool is_tree, struct perf_counters *out);

/* Add what was counted to COUNTS, scaled if the counters were shared with others. */
void perf_counters_add(const struct perf_counters *counters, double counts[PERF_COUNTS]);

void perf_counters_close(struct perf_counters *counters);
