/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/process_end.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/proc.h"

bool process_has_thread(pid_t pid, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)tid);
	return access(path, F_OK) == 0;
}

bool thread_is_in_exit_group(pid_t tid)
{
	char path[64];
	cleanup_free char *call = NULL;
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)tid);
	return read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &call, NULL) == 0 &&
	       strtoull(call, NULL, 10) == SYS_exit_group;
}

static bool any_thread_is_in_exit_group(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	bool found = false;
	for (struct dirent *entry; tasks && !found && (entry = readdir(tasks)) != NULL;)
		found = thread_is_in_exit_group(atoi(entry->d_name));
	return found;
}

/* Whether the thread TID has ended, and only waits for the others of its process. */
static bool has_ended(pid_t tid)
{
	cleanup_free char *stat = proc_stat(tid);
	return strchr("ZX", proc_stat_state(stat)); /* or there is no state any more */
}

/* Of PID's threads, whether TID is the last. */
static bool is_last_thread(pid_t pid, pid_t tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	cleanup_closedir DIR *tasks = opendir(path);
	bool is_last = tasks != NULL;
	for (struct dirent *entry; is_last && (entry = readdir(tasks)) != NULL;) {
		pid_t other = atoi(entry->d_name);
		is_last = other <= 0 || other == tid || has_ended(other);
	}
	return is_last;
}

/* Another one is executing over it: then its exit status is 0 (do_group_exit(), Linux 6.18 read). */
bool thread_ends_with_process(pid_t pid, pid_t tid)
{
	unsigned long exit_status = 0;
	return is_last_thread(pid, tid) ||
	       (ptrace(PTRACE_GETEVENTMSG, tid, 0, &exit_status) == 0 && exit_status != 0) ||
	       any_thread_is_in_exit_group(pid);
}
