/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/retry.h"
#include "ctl/probe.h"
#include "ptrace/entry_stop.h"
#include "ptrace/syscall_stop.h"
#include "tracer/seccomp_preflight.h"

/* What loads its libraries for longer leaves the question open. */
#define ENTRY_TIMEOUT_MS 5000

/* In the child: become a program with an ELF interpreter, ourselves, when the parent traces us. */
_Noreturn static void become_program(int traced_fd)
{
	char byte;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
	    read(traced_fd, &byte, 1) != 1)
		_exit(1);
	execl("/proc/self/exe", "hugexecctl", "--version", (char *)NULL);
	_exit(1);
}

/* To the next stop of EVENT that is no signal of the tracee's own. Returns 0, or -1 if it has ended. */
static int wait_for_event(struct tracee *tracee, int event)
{
	int status;
	while (retry(waitpid(tracee->pid, &status, __WALL)) > 0 && WIFSTOPPED(status)) {
		if (status >> 16 == event)
			return 0;
		ptrace(PTRACE_CONT, tracee->pid, 0, status >> 16 == 0 ? (long)WSTOPSIG(status) : 0L);
	}
	tracee->state = TRACEE_GONE;
	return -1;
}

/* Whether TRACEE, which was told to stop at its entry point and runs, comes there. */
static bool comes_to_entry(struct tracee *tracee)
{
	for (int64_t deadline = now_ms() + ENTRY_TIMEOUT_MS; now_ms() < deadline;) {
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		if (!entry_stop_is_near(tracee)) {
			if (!entry_stop_is_ahead(tracee))
				return false;
			continue;
		}
		if (ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0) < 0 || wait_for_event(tracee, PTRACE_EVENT_STOP) < 0)
			return false;
		if (entry_stop_take(tracee))
			return true;
		ptrace(PTRACE_CONT, tracee->pid, 0, 0);
	}
	return false;
}

/* With the child about to be a program: VERDICT_UNKNOWN if it does not get that far. */
static void try_entry(struct tracee *tracee, int traced_fd, struct probe *out)
{
	struct error err = {0};
	char text[ERROR_TEXT_BYTES];
	out->verdict = VERDICT_UNKNOWN;
	if (preflight(&err) < 0 ||
	    tracee_seize(tracee, tracee->pid, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL, &err) < 0 ||
	    write(traced_fd, "", 1) != 1 || wait_for_event(tracee, PTRACE_EVENT_EXEC) < 0) {
		snprintf(out->text, sizeof out->text, "not tried: %s",
		         error_is_set(&err) ? error_text(&err, text, sizeof text) : "no program could be started");
		return;
	}
	tracee->state = TRACEE_IN_EXEC;
	if (tracee_finish_exec(tracee, &err) == 0 && entry_stop_set(tracee, 0, &err) == 0 &&
	    ptrace(PTRACE_CONT, tracee->pid, 0, 0) == 0 && comes_to_entry(tracee)) {
		out->verdict = VERDICT_WORKS;
		snprintf(out->text, sizeof out->text,
		         "programs wait at their entry points, where copies of their libraries are put in place");
		return;
	}
	out->verdict = VERDICT_FAILS;
	snprintf(out->advice, sizeof out->advice,
	         "if a filter or a security module refuses: allow memfd_create, mmap of it and pidfd_getfd in the "
	         "unit's SystemCallFilter= or the container's profile");
	snprintf(out->text, sizeof out->text, "libraries get no copies: %s",
	         error_is_set(&err) ? error_text(&err, text, sizeof text)
	                            : "no-breakpoint: a program was not seen at its entry point");
}

void probe_entry(struct probe *out)
{
	int fds[2];
	*out = (struct probe){.verdict = VERDICT_UNKNOWN};
	if (pipe2(fds, O_CLOEXEC) < 0) {
		snprintf(out->text, sizeof out->text, "not tried: no pipe");
		return;
	}
	struct tracee tracee = {.pid = fork()};
	if (tracee.pid == 0) {
		close(fds[1]);
		become_program(fds[0]);
	}
	pid_t child = tracee.pid;
	if (child > 0)
		try_entry(&tracee, fds[1], out);
	else
		snprintf(out->text, sizeof out->text, "not tried: no process");
	close(fds[0]);
	close(fds[1]);
	if (child <= 0)
		return;
	/* If a filter refuses that, it ends when we do: it is not waited for. */
	if (kill(child, SIGKILL) == 0)
		retry(waitpid(child, NULL, __WALL));
	entry_stop_drop(&tracee);
}
