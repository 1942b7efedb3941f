/*
 * The breakpoint at a program's entry point, where its libraries are there (tracee.h tells what it does to a tracee).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/retry.h"
#include "engine/tracee.h"

#ifndef TRAP_PERF
#define TRAP_PERF 6 /* Linux 5.13 */
#endif

#define SIGTRAP_BIT (UINT64_C(1) << (SIGTRAP - 1)) /* in a kernel sigset */

/*
 * A breakpoint that is ours and ends with us. Under a seccomp filter it is not even tried: the filter might kill for
 * it. Of a process that we may trace, and without a look into the kernel, it asks for no privilege, but some hosts give
 * perf events to root only (perf_event_paranoid 3).
 */
static int open_breakpoint(pid_t pid, uint64_t tracee_addr)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_BREAKPOINT,
	    .size = sizeof attr,
	    .bp_type = HW_BREAKPOINT_X,
	    .bp_addr = tracee_addr,
	    .bp_len = sizeof(long), /* what the kernel asks for, whatever the instruction's length */
	    .sample_period = 1,
	    .exclude_kernel = 1,
	    .exclude_hv = 1,
	    .remove_on_exec = 1,
	    .sigtrap = 1,
	};
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0)
		return -1;
	return (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Whether the tracee ignores SIGTRAP; true where that cannot be told. */
static bool ignores_sigtrap(const struct tracee *tracee)
{
	static const char key[] = "\nSigIgn:\t";
	char path[64];
	cleanup_free char *status = NULL;
	snprintf(path, sizeof path, "/proc/%d/status", (int)tracee->pid);
	const char *ignored = read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0 ? NULL : strstr(status, key);
	return !ignored || (strtoull(ignored + sizeof key - 1, NULL, 16) & SIGTRAP_BIT);
}

int tracee_set_breakpoint(struct tracee *tracee, uint64_t tracee_addr, struct error *err)
{
	siginfo_t info;
	/* Where a filter refuses this, the breakpoint's signal could not be told from others, and would be delivered.
	 */
	if (ptrace(PTRACE_GETSIGINFO, tracee->pid, 0, &info) < 0)
		return error_set_errno(err, errno, "no-breakpoint", "asking process %d for signals", (int)tracee->pid);
	/* Blocked, that of a perf event stays pending, and nobody hears of it (send_sig_perf(), seen with Linux 6.18).
	 */
	uint64_t mask;
	if (ptrace(PTRACE_GETSIGMASK, tracee->pid, sizeof mask, &mask) < 0 || (mask & SIGTRAP_BIT))
		return error_set(err, "no-breakpoint", "process %d blocks SIGTRAP", (int)tracee->pid);
	int fd = open_breakpoint(tracee->pid, tracee_addr);
	tracee->breakpoint_fd = fd > 0 ? fd : 0;
	/* That of a debug register is forced on who ignores it, who then ignores it no more (force_sig_fault()). */
	if (fd <= 0 && ignores_sigtrap(tracee))
		return error_set(err, "no-breakpoint", "process %d ignores SIGTRAP", (int)tracee->pid);
	if (fd <= 0 && arch_set_breakpoint(tracee->pid, tracee_addr) < 0)
		return error_set_errno(err, errno, "no-breakpoint", "hardware breakpoint in process %d",
		                       (int)tracee->pid);
	tracee->breakpoint_addr = tracee_addr;
	return 0;
}

/* Of a stopped tracee. Should it stay it costs nothing: the entry point is never executed again. */
static void clear_breakpoint(struct tracee *tracee)
{
	if (tracee->breakpoint_fd > 0)
		close(tracee->breakpoint_fd);
	else
		arch_clear_breakpoint(tracee->pid);
	tracee->breakpoint_fd = 0;
	tracee->breakpoint_addr = 0;
}

bool tracee_is_at_breakpoint(struct tracee *tracee)
{
	struct arch_regs regs;
	siginfo_t info;
	if (!tracee->breakpoint_addr || ptrace(PTRACE_GETSIGINFO, tracee->pid, 0, &info) < 0 ||
	    info.si_code != (tracee->breakpoint_fd > 0 ? TRAP_PERF : TRAP_HWBKPT) ||
	    tracee_get_regs(tracee, &regs, NULL) < 0 || arch_pc(&regs) != tracee->breakpoint_addr)
		return false;
	clear_breakpoint(tracee); /* its SIGTRAP would end the program */
	tracee->state = TRACEE_STOPPED;
	return true;
}

void tracee_leave_breakpoint(struct tracee *tracee)
{
	int status;
	if (!tracee->breakpoint_addr)
		return;
	ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0);
	/* Any stop will do. What it was stopped by goes on, but for the breakpoint itself. */
	bool is_stopped = retry(waitpid(tracee->pid, &status, __WALL)) > 0 && WIFSTOPPED(status);
	bool is_signal = is_stopped && status >> 16 == 0 && WSTOPSIG(status) != SYSCALL_STOP;
	long signal_to_deliver = is_signal && !tracee_is_at_breakpoint(tracee) ? WSTOPSIG(status) : 0;
	if (tracee->breakpoint_addr)
		clear_breakpoint(tracee);
	/* Of one that has ended there is nothing to let go. */
	tracee->state = ptrace(PTRACE_DETACH, tracee->pid, 0, signal_to_deliver) < 0 ? TRACEE_GONE : TRACEE_LET_GO;
}
