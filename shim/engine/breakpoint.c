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
#define COOKIE      UINT64_C(0x63657865677568)     /* tells our event's signals from those of others */
#define STOPS_MAX   16                             /* before the one that we wait for */

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
	    .sig_data = COOKIE,
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
	struct arch_regs regs;
	/* Where a filter refuses these, the breakpoint's signal could not be told from others, and would be delivered.
	 */
	if (tracee_get_regs(tracee, &regs, NULL) < 0 || ptrace(PTRACE_GETSIGINFO, tracee->pid, 0, &info) < 0)
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

/* Whether INFO is of the breakpoint's signal; BY_EVENT: that of a perf event. */
static bool is_ours(const siginfo_t *info, bool by_event)
{
	uint64_t data; /* si_perf_data (asm-generic/siginfo.h), which libc's header does not have */
	memcpy(&data, (const char *)&info->si_addr + sizeof info->si_addr, sizeof data);
	return info->si_signo == SIGTRAP &&
	       (by_event ? info->si_code == TRAP_PERF && data == COOKIE : info->si_code == TRAP_HWBKPT);
}

/* Whether the breakpoint's signal is still to come to a stopped tracee: a library may have blocked it. */
static bool is_pending(const struct tracee *tracee, bool by_event)
{
	siginfo_t info;
	struct __ptrace_peeksiginfo_args next = {.off = 0, .nr = 1};
	for (; ptrace(PTRACE_PEEKSIGINFO, tracee->pid, &next, &info) == 1; next.off++) {
		if (is_ours(&info, by_event))
			return true;
	}
	return false;
}

/*
 * Have a stopped tracee get the breakpoint's signal, if that is still to come, so that we can take it: SIGTRAP is the
 * first of those that are not blocked, and comes before the next instruction (dequeue_synchronous_signal()).
 * Returns what is left of SIGNAL_TO_DELIVER to deliver, which was not passed on before.
 */
static int take_signal(struct tracee *tracee, bool by_event, int signal_to_deliver)
{
	uint64_t mask, without;
	if (!is_pending(tracee, by_event) || ptrace(PTRACE_GETSIGMASK, tracee->pid, sizeof mask, &mask) < 0)
		return signal_to_deliver;
	without = mask & ~SIGTRAP_BIT;
	/* Blocked still, it would not come, and the tracee would run on. */
	if (ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof without, &without) < 0)
		return signal_to_deliver;
	for (int stops = 0; stops < STOPS_MAX && is_pending(tracee, by_event); stops++) {
		int status;
		if (ptrace(PTRACE_CONT, tracee->pid, 0, (long)signal_to_deliver) < 0 ||
		    retry(waitpid(tracee->pid, &status, __WALL)) < 0 || !WIFSTOPPED(status))
			return 0;
		siginfo_t info;
		bool is_signal = status >> 16 == 0 && ptrace(PTRACE_GETSIGINFO, tracee->pid, 0, &info) == 0;
		signal_to_deliver = is_signal && !is_ours(&info, by_event) ? WSTOPSIG(status) : 0;
	}
	ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof mask, &mask);
	return signal_to_deliver;
}

enum at_breakpoint tracee_at_breakpoint(struct tracee *tracee)
{
	struct arch_regs regs;
	siginfo_t info;
	if (!tracee->breakpoint_addr || ptrace(PTRACE_GETSIGINFO, tracee->pid, 0, &info) < 0 ||
	    !is_ours(&info, tracee->breakpoint_fd > 0))
		return BREAKPOINT_ELSEWHERE;
	bool stands_there = tracee_get_regs(tracee, &regs, NULL) == 0 && arch_pc(&regs) == tracee->breakpoint_addr;
	clear_breakpoint(tracee); /* its SIGTRAP would end the program */
	tracee->state = TRACEE_STOPPED;
	return stands_there ? BREAKPOINT_REACHED : BREAKPOINT_PASSED;
}

void tracee_leave_breakpoint(struct tracee *tracee)
{
	int status;
	if (!tracee->breakpoint_addr)
		return;
	bool by_event = tracee->breakpoint_fd > 0;
	ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0);
	/* Any stop will do. What it was stopped by goes on, but for the breakpoint itself. */
	bool is_stopped = retry(waitpid(tracee->pid, &status, __WALL)) > 0 && WIFSTOPPED(status);
	bool is_signal = is_stopped && status >> 16 == 0 && WSTOPSIG(status) != SYSCALL_STOP;
	int signal_to_deliver =
	    is_signal && tracee_at_breakpoint(tracee) == BREAKPOINT_ELSEWHERE ? WSTOPSIG(status) : 0;
	if (tracee->breakpoint_addr)
		clear_breakpoint(tracee);
	if (is_stopped)
		signal_to_deliver = take_signal(tracee, by_event, signal_to_deliver);
	/* Of one that has ended there is nothing to let go. */
	bool has_gone = ptrace(PTRACE_DETACH, tracee->pid, 0, (long)signal_to_deliver) < 0;
	tracee->state = has_gone ? TRACEE_GONE : TRACEE_LET_GO;
}

void tracee_drop_breakpoint(struct tracee *tracee)
{
	bool by_event = tracee->breakpoint_fd > 0;
	if (by_event)
		close(tracee->breakpoint_fd);
	tracee->breakpoint_fd = 0;
	tracee->breakpoint_addr = 0;
	/* What was blocked for one program is pending for the next (execve(2)). */
	if (tracee->state == TRACEE_IN_EXEC && is_pending(tracee, by_event) && tracee_finish_exec(tracee, NULL) == 0)
		take_signal(tracee, by_event, 0);
}
