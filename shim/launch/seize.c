#include "launch/seize.h"

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

/* One thread more. Returns 1; 0 where it has ended meanwhile, or is attached already; -1 with ERR. */
static int seize_one(struct seized *seized, pid_t tid, long options, struct error *err)
{
	if (seized->count == SEIZE_THREADS_MAX)
		return error_set(err, "ptrace-refused", "more than %d threads", SEIZE_THREADS_MAX);
	struct tracee *larger = realloc(seized->threads, (seized->count + 1) * sizeof larger[0]);
	if (!larger)
		return error_set_errno(err, ENOMEM, "ptrace-refused", "attaching");
	seized->threads = larger;
	if (tracee_seize(&larger[seized->count], tid, options, err) == 0) {
		seized->count++;
		return 1;
	}
	/* EPERM of a thread whose process we trace: the kernel has attached it to us as it was started. */
	bool is_main = seized->count == 0;
	return !is_main && (errno == ESRCH || errno == EPERM) ? 0 : -1;
}

/* Attach to those of PID's threads that are not seized yet. Returns how many, or -1 with ERR. */
static int seize_new(struct seized *seized, pid_t pid, long options, struct error *err)
{
	char path[64];
	int found = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	if (!tasks)
		return error_set_errno(err, errno, "ptrace-refused", "%s", path);
	for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
		pid_t tid = atoi(entry->d_name);
		if (tid <= 0 || is_seized(seized, tid))
			continue;
		int result = seize_one(seized, tid, options, err);
		if (result < 0)
			return -1;
		found += result;
	}
	return found;
}

int seize_threads(pid_t pid, long options, struct seized *out, struct error *err)
{
	*out = (struct seized){0};
	int found = seize_one(out, pid, options | PTRACE_O_TRACECLONE, err);
	for (int pass = 0; found > 0 && pass < PASSES_MAX; pass++)
		found = seize_new(out, pid, options | PTRACE_O_TRACECLONE, err);
	if (found < 0) {
		free(out->threads);
		out->threads = NULL;
		return -1;
	}
	return 0;
}
