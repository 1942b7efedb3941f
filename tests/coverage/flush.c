/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into everything of a coverage build (-Wl,--wrap=...): hugexec's processes end by _exit() and by the SIGKILL of
 * a fault point, at which nothing is written down by itself. Who is about to write the counts says so, to nobody but
 * tests/faults/inject.c, which then leaves the process alone.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WRITES_COUNTS 0x67636f76 /* no option that prctl(2) knows */

void __gcov_dump(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
int __real_kill(pid_t pid, int signal_number);
int __wrap_kill(pid_t pid, int signal_number);
int __real___gcov_execv(const char *path, char *const argv[]);
int __wrap___gcov_execv(const char *path, char *const argv[]);
int __real___gcov_execvp(const char *file, char *const argv[]);
int __wrap___gcov_execvp(const char *file, char *const argv[]);

static void tell(void)
{
	prctl(WRITES_COUNTS);
}

/* By exit() the counts are written after all handlers have been called. */
__attribute__((constructor)) static void tell_at_exit(void)
{
	atexit(tell);
}

_Noreturn void __wrap__exit(int status)
{
	tell();
	__gcov_dump();
	__real__exit(status);
}

int __wrap_kill(pid_t pid, int signal_number)
{
	if (signal_number == SIGKILL && pid == getpid()) {
		tell();
		__gcov_dump();
	}
	return __real_kill(pid, signal_number);
}

/* What gcc makes of execv() and execvp(), because the counts are gone after them. */
int __wrap___gcov_execv(const char *path, char *const argv[])
{
	tell();
	return __real___gcov_execv(path, argv);
}

int __wrap___gcov_execvp(const char *file, char *const argv[])
{
	tell();
	return __real___gcov_execvp(file, argv);
}
