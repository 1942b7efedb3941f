/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/seize_threads.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>

#include "base/cleanup.h"

/* Threads that start while we look are attached by the kernel, once the one that starts them is. */
#define PASSES_MAX 64

static bool is_seized(const struct seized *seized, pid_t tid)
{
	for (size_t i = 0; i < seized->count; i++) {
		if (seized->threads[i].pid == tid)
			return true;
	}
	return false;
}

static int add(struct seized *seized, const struct tracee *thread, struct error *err)
{
	if (seized->count == SEIZE_THREADS_MAX)
		return error_set(err, REASON_PTRACE_REFUSED, "more than %d threads", SEIZE_THREADS_MAX);
	struct tracee *larger = realloc(seized->threads, (seized->count + 1) * sizeof larger[0]);
	if (!larger)
		return error_set_errno(err, ENOMEM, REASON_PTRACE_REFUSED, "attaching");
	seized->threads = larger;
	seized->threads[seized->count++] = *thread;
	return 0;
}

/*
 * Attach to those threads of PID that are not in SEIZED yet, nor KNOWN (0: none). A thread that refuses with EPERM
 * while others of its process are ours was attached by the kernel as one of these started it: COUNT_ALL has it counted,
 * too. Returns how many came, or -1 with ERR.
 */
static int seize_new(struct seized *seized, pid_t pid, pid_t known, long options, bool count_all, struct error *err)
{
	char path[64];
	int found = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	if (!tasks)
		return error_set_errno(err, errno, REASON_PTRACE_REFUSED, "%s", path);
	for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
		struct tracee thread;
		pid_t tid = atoi(entry->d_name);
		if (tid <= 0 || tid == known || is_seized(seized, tid))
			continue;
		if (tracee_seize(&thread, tid, options, err) < 0) {
			if (errno == ESRCH || (errno == EPERM && !count_all))
				continue;
			if (errno != EPERM)
				return -1;
		}
		if (add(seized, &thread, err) < 0)
			return -1;
		found++;
	}
	return found;
}

int seize_threads(pid_t pid, long options, struct seized *out, struct error *err)
{
	struct tracee main_thread;
	*out = (struct seized){0};
	options |= PTRACE_O_TRACECLONE;
	if (tracee_seize(&main_thread, pid, options, err) < 0)
		return -1;
	int found = add(out, &main_thread, err) < 0 ? -1 : 1;
	for (int pass = 0; found > 0 && pass < PASSES_MAX; pass++)
		found = seize_new(out, pid, 0, options, false, err);
	if (found < 0) {
		free(out->threads);
		out->threads = NULL;
		return -1;
	}
	return 0;
}

int seize_others(const struct tracee *main_thread, struct seized *others, struct error *err)
{
	long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
	return seize_new(others, main_thread->pid, main_thread->pid, options, true, err) < 0 ? -1 : 0;
}
