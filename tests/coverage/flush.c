/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into everything of a coverage build (-Wl,--wrap=...): hugexec's processes end by _exit() and by the SIGKILL of
 * a fault point, at which nothing is written down by itself. In a fault run who is about to write the counts says so,
 * to nobody but tests/faults/inject.c, which then leaves the process alone.
 *
 * A program behaves as one that counts nothing: no word of gcov's about a file that it cannot write gets into standard
 * error, a small limit of file sizes ends nobody, and below a root without COUNTS_FOLDER no folder is made.
 *
 * A reader of stranger's bytes may not write its counts once it is locked up, however it ends. While COUNT_READERS is
 * there, a process that shares its memory waits for its end and writes them. In a fault run it is not there: that
 * process would make calls, too. A reader is usually killed, and if that came while it held a lock (malloc's, gcov's),
 * nobody gives that back: then KEEPER_S ends the wait for it, and the counts are lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define WRITES_COUNTS      0x67636f76 /* no option that prctl(2) knows */
#define COUNT_READERS      COUNTS_FOLDER "/count-readers"
#define READER_NAME_ENDS   "-reader"
#define KEEPER_STACK_BYTES 65536
#define KEEPER_S           10

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
int __real_kill(pid_t pid, int signal_number);
int __wrap_kill(pid_t pid, int signal_number);
int __wrap___gcov_execv(const char *path, char *const argv[]);
int __wrap___gcov_execvp(const char *file, char *const argv[]);
int __wrap___gcov_execve(const char *path, char *const argv[], char *const envp[]);

static char keeper_stack[KEEPER_STACK_BYTES] __attribute__((aligned(16)));
static bool is_written, is_reader, is_fault_run;

/* errno, limits and standard error are as before when this returns. */
static void write_counts(void)
{
	int saved_errno = errno;
	struct rlimit before, most;
	FILE *saved_stderr = stderr;
	if (is_fault_run)
		prctl(WRITES_COUNTS);
	if (faccessat(AT_FDCWD, COUNTS_FOLDER, W_OK, AT_EACCESS) == 0 && getrlimit(RLIMIT_FSIZE, &before) == 0 &&
	    before.rlim_max == RLIM_INFINITY) {
		most = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
		setrlimit(RLIMIT_FSIZE, &most);
		/* Without a function that writes, what is written is gone. */
		stderr = fopencookie(NULL, "w", (cookie_io_functions_t){0});
		if (stderr) {
			__gcov_dump();
			fclose(stderr);
		}
		stderr = saved_stderr;
		setrlimit(RLIMIT_FSIZE, &before);
	}
	is_written = true;
	errno = saved_errno;
}

/* By exit() the counts are written after all handlers have been called; here they are already. */
static void at_exit(int status, void *unused)
{
	(void)unused;
	fflush(NULL);
	__wrap__exit(status);
}

_Noreturn void __wrap__exit(int status)
{
	if (!is_written && !is_reader)
		write_counts();
	__real__exit(status);
}

int __wrap_kill(pid_t pid, int signal_number)
{
	if (signal_number == SIGKILL && pid == getpid())
		write_counts();
	return __real_kill(pid, signal_number);
}

/* What gcc makes of execv() and the like, because the counts are gone after them. */
static int after_failed_exec(void)
{
	int saved_errno = errno;
	__gcov_reset();
	is_written = false;
	errno = saved_errno;
	return -1;
}

int __wrap___gcov_execv(const char *path, char *const argv[])
{
	write_counts();
	execv(path, argv);
	return after_failed_exec();
}

int __wrap___gcov_execvp(const char *file, char *const argv[])
{
	write_counts();
	execvp(file, argv);
	return after_failed_exec();
}

int __wrap___gcov_execve(const char *path, char *const argv[], char *const envp[])
{
	write_counts();
	execve(path, argv, envp);
	return after_failed_exec();
}

/* In the reader's memory, with descriptor, limits and rights of its own, and no filter. */
static int keep(void *pid_fd)
{
	syscall(SYS_dup2, (int)(long)pid_fd, 0);
	syscall(SYS_close_range, 1U, ~0U, 0U);
	struct pollfd reader = {.fd = 0, .events = POLLIN};
	prctl(PR_SET_NAME, "count-keeper"); /* no crash of the reader's, if its heap was left in pieces */
	syscall(SYS_poll, &reader, 1UL, -1);
	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_sec = KEEPER_S}, NULL);
	write_counts();
	__real__exit(0);
}

__attribute__((constructor)) static void begin(void)
{
	size_t length = strlen(program_invocation_short_name), end = sizeof READER_NAME_ENDS - 1;
	on_exit(at_exit, NULL);
	is_reader = length >= end && strcmp(program_invocation_short_name + length - end, READER_NAME_ENDS) == 0;
	is_fault_run = access(COUNT_READERS, F_OK) < 0;
	if (!is_reader || is_fault_run)
		return;
	int pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pid_fd < 0)
		return;
	clone(keep, keeper_stack + sizeof keeper_stack, CLONE_VM, (void *)(long)pid_fd);
	close(pid_fd);
}
