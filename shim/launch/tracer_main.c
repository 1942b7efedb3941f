/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/tracer_main.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "launch/handshake.h"
#include "ptrace/tracee.h"
#include "report/deliver.h"
#include "tracer/seccomp_preflight.h"
#include "tracer/trace_loop.h"

#define PARENT_WORD_MS 2000

#define FILES_NEEDED 16

/* All but KEPT, which is none of the first three; -1: all. */
static void close_inherited_files(int kept)
{
	close_all_but(kept);
	/* Nothing that a library prints may land in a file that gets number 0, 1 or 2 by chance. */
	for (int i = 0; i < 3; i++) {
		if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
			break;
	}
}

/* The limits are the workload's; a tracer may use them up to what it is allowed at most, and leaves no core file. */
static void raise_own_limits(void)
{
	static const __rlimit_resource_t raised[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CPU};
	struct rlimit limit;
	for (size_t i = 0; i < sizeof raised / sizeof raised[0]; i++) {
		if (getrlimit(raised[i], &limit) == 0 && limit.rlim_cur != limit.rlim_max) {
			limit.rlim_cur = limit.rlim_max;
			setrlimit(raised[i], &limit);
		}
	}
	limit = (struct rlimit){0, 0};
	setrlimit(RLIMIT_CORE, &limit);
}

/* With fewer the work would fail half-way, with reasons that mislead. */
static int check_files(struct error *err)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_NEEDED)
		return 0;
	return error_set(err, REASON_FD_LIMIT, "RLIMIT_NOFILE allows %ju open files, the tracer needs %d: raise it",
	                 (uintmax_t)limit.rlim_cur, FILES_NEEDED);
}

static void detach_from_surroundings(const struct launch *launch)
{
	/* Only until the target is seized: from then on its end wakes us. */
	if (!launch->tracer_is_orphan)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would reap what we wait for */
	setsid();
	raise_own_limits();
	close_inherited_files(deliver_keep_files(launch->job.report));
	deliver_keep_report(launch->job.report);
	/* A wrapper may leave its working directory and unmount it: it must not be busy with us. */
	(void)!chdir("/");
	prctl(PR_SET_NAME, "hugexec-tracer", 0, 0, 0);
}

_Noreturn static void refuse(struct launch *launch, const struct error *err)
{
	launch->shared->refusal = *err;
	handshake_set(launch->shared, HANDSHAKE_REFUSED);
	_exit(0);
}

_Noreturn void tracer_main(struct launch *launch, pid_t parent_pid)
{
	struct error err = {0};
	struct tracee tracee;
	/* That it ends matters only if it runs before it is let go. */
	bool runs = launch->job.follows || launch->libraries;
	long options = PTRACE_O_TRACEEXEC | (runs ? PTRACE_O_TRACEEXIT : 0);
	launch->job.child_pid = launch->tracer_is_orphan ? 0 : getpid();
	detach_from_surroundings(launch);
	fault_point("tracer-started");
	if (handshake_wait(launch->shared, HANDSHAKE_BEGUN, PARENT_WORD_MS) != HANDSHAKE_MAY_TRACE ||
	    (!launch->tracer_is_orphan && getppid() != parent_pid))
		_exit(0);
	if (check_files(&err) < 0 || preflight(&err) < 0 || tracee_seize(&tracee, parent_pid, options, &err) < 0)
		refuse(launch, &err);
	door_prepare(launch->job.door, &tracee);
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	fault_point("seized");
	launch->job.spent_us = now_us() - launch->began_us;
	handshake_set(launch->shared, HANDSHAKE_SEIZED);
	follow(&launch->job, &tracee, 1);
}
