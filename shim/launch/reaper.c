/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/reaper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/proc.h"

/* How often we look at a process that may be about to unblock its signals. */
#define LOOKS_MAX 100
#define LOOK_NS   1000000

#define INITIAL_PID_NAMESPACE_INODE 0xEFFFFFFCU /* PROC_PID_INIT_INO, since Linux 3.8 */

bool reaper_is_self(void)
{
	int is_subreaper = 0;
	if (getpid() == 1)
		return true;
	return prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper, 0, 0, 0) == 0 && is_subreaper;
}

/* Whether the signal mask that STATUS has under KEY holds SIGCHLD. */
static bool holds_sigchld(const char *status, const char *key)
{
	uint64_t mask;
	return proc_u64(status, key, 16, &mask) == 0 && mask & (UINT64_C(1) << (SIGCHLD - 1));
}

enum look { REAPS, REAPS_NOT, NOT_SETTLED };

/* Whether PID sleeps in rt_sigtimedwait(2), as init processes do: the kernel shows as not blocked what that waits for.
 */
static bool waits_for_signals(pid_t pid)
{
	char path[64];
	cleanup_free char *call = NULL;
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
	return read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &call, NULL) == 0 &&
	       strtoll(call, NULL, 10) == SYS_rt_sigtimedwait;
}

/*
 * What STATUS tells of PID. Who has just started a child by vfork(2), as posix_spawn(3) does, blocks all signals for
 * the moment in which that child is us already; so blocked signals count only of one that sleeps.
 */
static enum look look_at(pid_t pid, const char *status)
{
	const char *state = proc_value(status, "State");
	if (holds_sigchld(status, "SigCgt") || holds_sigchld(status, "SigIgn"))
		return REAPS;
	if (holds_sigchld(status, "SigBlk"))
		return state && *state == 'S' ? REAPS : NOT_SETTLED;
	return waits_for_signals(pid) ? REAPS : REAPS_NOT;
}

static int check_process(pid_t pid, struct error *err)
{
	char name[32] = "";
	for (int looks = 0; looks < LOOKS_MAX; looks++) {
		cleanup_free char *status = proc_status(pid);
		if (!status)
			break;
		sscanf(status, "Name:\t%31[^\n]", name);
		switch (look_at(pid, status)) {
		case REAPS: return 0;
		case NOT_SETTLED: nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL); continue;
		default: break;
		}
		return error_set(
		    err, REASON_NO_REAPER,
		    "process %d (%s) takes no notice of SIGCHLD, so the tracer of a wrapper could stay its "
		    "zombie; hugexecd.socket helps",
		    (int)pid, name);
	}
	return error_set(
	    err, REASON_NO_REAPER,
	    "it cannot be seen whether process %d would reap the tracer of a wrapper; hugexecd.socket helps", (int)pid);
}

static bool is_initial_pid_namespace(void)
{
	struct stat st;
	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == INITIAL_PID_NAMESPACE_INODE;
}

int reaper_check(struct error *err)
{
	pid_t parent_pid = getppid(); /* 0: outside of the namespace, where no orphan of ours can go */
	if (getpid() != 1 && !is_initial_pid_namespace() && check_process(1, err) < 0)
		return -1;
	return parent_pid > 1 && getpid() != 1 ? check_process(parent_pid, err) : 0;
}
