/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/syscall_stop.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/retry.h"
#include "ptrace/same_processor.h"
#include "ptrace/stop_threads.h"

static pid_t wait_for(struct tracee *tracee, int *status)
{
	if (tracee->process)
		return other_threads_wait(tracee, status);
	int64_t began_us = now_us();
	pid_t got = retry(waitpid(tracee->pid, status, __WALL));
	if (tracee->shares_processor && same_processor_is_crowded(now_us() - began_us))
		tracee_give_processors(tracee); /* if that fails: again with the registers */
	return got;
}

int tracee_to_syscall_stop(struct tracee *tracee, struct error *err)
{
	int signal_to_deliver = 0;
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, tracee->pid, 0, (long)signal_to_deliver) < 0)
			return tracee_failed(tracee, "resuming", err);
		int status;
		if (wait_for(tracee, &status) < 0 || !WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXEC)
			return tracee_lost(tracee, err);
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		bool signal_stop = status >> 16 == 0;
		signal_to_deliver = signal_stop ? WSTOPSIG(status) : 0;
	}
}

int tracee_finish_exec(struct tracee *tracee, struct error *err)
{
	if (tracee->state == TRACEE_STOPPED)
		return 0;
	if (tracee_to_syscall_stop(tracee, err) < 0)
		return -1;
	tracee->state = TRACEE_STOPPED;
	return 0;
}
