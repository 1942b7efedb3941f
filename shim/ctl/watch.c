/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/watch.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/size.h"
#include "host/pages.h"

#define DRAIN_US   50000  /* the ring of a thread has room for twenty times as much */
#define LOOK_US    250000 /* for new threads and children */
#define MAPS_LIMIT (64 * MIB)
#define DEPTH_MAX  16

static void read_maps(struct watch *watch, struct watched_process *process)
{
	char path[64];
	cleanup_free char *maps = NULL;
	struct exec_ranges ranges;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)process->pid);
	if (read_file_at(AT_FDCWD, path, MAPS_LIMIT, &maps, NULL) < 0 ||
	    exec_ranges_read(maps, &watch->objects, &ranges) < 0)
		return; /* it has ended: what it ran is known already */
	exec_ranges_free(&process->ranges);
	process->ranges = ranges;
	process->is_stale = false;
}

struct taker {
	struct watch *watch;
	struct watched_process *process;
};

static void take(void *context, uint64_t ip)
{
	struct taker *taker = context;
	const struct exec_range *range = exec_ranges_find(&taker->process->ranges, ip);
	if (!range) {
		taker->process->is_stale = true;
		return;
	}
	page_counts_add(&taker->watch->pages,
	                PAGE_OF(range->object, (ip - range->start + range->file_off) / host_pages()->base_bytes));
}

static void drain(struct watch *watch)
{
	for (size_t i = 0; i < watch->process_count; i++) {
		if (watch->processes[i].is_stale)
			read_maps(watch, &watch->processes[i]);
	}
	for (size_t i = 0; i < watch->thread_count; i++) {
		struct taker taker = {watch, &watch->processes[watch->threads[i].process]};
		perf_sampler_drain(&watch->threads[i].sampler, take, &taker);
	}
}

static bool is_watched(const struct watch *watch, pid_t tid)
{
	for (size_t i = 0; i < watch->thread_count; i++) {
		if (watch->threads[i].tid == tid)
			return true;
	}
	return false;
}

/* Returns 0, or -1 with errno: ESRCH if it has ended meanwhile. */
static int watch_thread(struct watch *watch, pid_t tid, size_t process)
{
	struct watched_thread *thread = &watch->threads[watch->thread_count];
	if (watch->thread_count == WATCHED_THREADS_MAX || is_watched(watch, tid))
		return 0;
	*thread = (struct watched_thread){.tid = tid, .process = process};
	if (perf_sampler_open(tid, WATCH_HZ, &thread->sampler) < 0)
		return -1;
	thread->has_counters = perf_counters_open(tid, &watch->events, false, &thread->counters) == 0;
	watch->has_counters &= thread->has_counters;
	watch->thread_count++;
	return 0;
}

static size_t process_of(struct watch *watch, pid_t pid)
{
	size_t i = 0;
	while (i < watch->process_count && watch->processes[i].pid != pid)
		i++;
	if (i == watch->process_count && i < WATCHED_PROCESSES_MAX) {
		watch->processes[watch->process_count++] = (struct watched_process){.pid = pid};
		read_maps(watch, &watch->processes[i]);
	}
	return i;
}

static int look(struct watch *watch, pid_t pid, unsigned depth);

static void look_at_children(struct watch *watch, pid_t pid, const char *tid, unsigned depth)
{
	char path[64];
	cleanup_free char *children = NULL;
	snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", (int)pid, tid);
	if (depth == DEPTH_MAX || read_file_at(AT_FDCWD, path, MIB, &children, NULL) < 0)
		return;
	char *rest = children;
	for (char *word; (word = strsep(&rest, " \n")) != NULL;) {
		if (*word)
			look(watch, (pid_t)atoi(word), depth + 1);
	}
}

/* At all threads of PID, and below it. Returns 0; -1 with errno if PID is not there, or may not be watched. */
static int look(struct watch *watch, pid_t pid, unsigned depth)
{
	char path[64];
	int result = 0, error = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	size_t process = tasks ? process_of(watch, pid) : WATCHED_PROCESSES_MAX;
	if (process == WATCHED_PROCESSES_MAX)
		return -1;
	for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (watch_thread(watch, (pid_t)atoi(entry->d_name), process) < 0 && errno != ESRCH) {
			error = errno;
			result = -1;
		}
		look_at_children(watch, pid, entry->d_name, depth);
	}
	errno = error;
	return result;
}

static bool look_at_all(struct watch *watch, const pid_t *pids, size_t pid_count)
{
	bool is_there = false;
	for (size_t i = 0; i < pid_count; i++)
		is_there |= look(watch, pids[i], 0) == 0;
	return is_there;
}

static void wait_us(int64_t us)
{
	struct timespec pause = {.tv_nsec = us * 1000};
	nanosleep(&pause, NULL);
}

int watch_run(struct watch *watch, const pid_t *pids, size_t pid_count, double seconds)
{
	arch_itlb_events(&watch->events);
	watch->has_counters = true;
	int64_t began_us = now_us(), looked_us = began_us, until_us = began_us + (int64_t)(seconds * 1e6);
	bool is_there = look_at_all(watch, pids, pid_count);
	if (!is_there || !watch->thread_count) {
		if (errno == 0 || errno == ENOENT) /* 0: all its threads have just ended */
			errno = ESRCH;
		return -1;
	}
	while (is_there && now_us() < until_us) {
		wait_us(DRAIN_US);
		drain(watch);
		if (now_us() - looked_us < LOOK_US)
			continue;
		looked_us = now_us();
		is_there = look_at_all(watch, pids, pid_count);
	}
	drain(watch);
	watch->seconds = (double)(now_us() - began_us) / 1e6;
	for (size_t i = 0; i < watch->thread_count; i++) {
		if (watch->threads[i].has_counters)
			perf_counters_add(&watch->threads[i].counters, watch->counts);
	}
	return 0;
}

void watch_free(struct watch *watch)
{
	for (size_t i = 0; i < watch->thread_count; i++) {
		perf_sampler_close(&watch->threads[i].sampler);
		if (watch->threads[i].has_counters)
			perf_counters_close(&watch->threads[i].counters);
	}
	for (size_t i = 0; i < watch->process_count; i++)
		exec_ranges_free(&watch->processes[i].ranges);
	code_objects_free(&watch->objects);
	page_counts_free(&watch->pages);
}
