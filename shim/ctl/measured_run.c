/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/measured_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/tlb.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "base/size.h"
#include "mm/smaps.h"

#define SMAPS_LIMIT_BYTES (256 * MIB)

/* The child, until it is the command: tells by ERRORS_FD why it could not become it, and begins when GO_FD is closed.
 */
__attribute__((noreturn)) static void become(const struct run_request *request, int go_fd, int errors_fd)
{
	char byte;
	int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
	bool is_ready = quiet >= 0 && dup2(quiet, STDIN_FILENO) >= 0 && dup2(quiet, STDOUT_FILENO) >= 0 &&
	                (request->shows_errors || dup2(quiet, STDERR_FILENO) >= 0);
	if (request->without_huge)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (is_ready && retry(read(go_fd, &byte, 1)) == 0)
		execvp(request->words[0], request->words);
	int error = errno;
	write_all(errors_fd, &error, sizeof error);
	_exit(127);
}

/* In transparent huge pages, but for text. */
static uint64_t other_huge_bytes(const char *smaps)
{
	cleanup_free struct smaps_entry *entry = malloc(sizeof *entry);
	struct smaps_cursor cursor = smaps_cursor(smaps);
	uint64_t bytes = 0;
	while (entry && smaps_next(&cursor, entry) == 1) {
		if (entry->perms[2] != 'x')
			bytes += entry->anon_huge_bytes + entry->shmem_pmd_bytes;
	}
	return bytes;
}

static void look_at_text(pid_t pid, struct measured_run *out)
{
	char path[64];
	cleanup_free char *smaps = NULL;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	out->has_text = read_file_at(AT_FDCWD, path, SMAPS_LIMIT_BYTES, &smaps, NULL) == 0 &&
	                text_objects_read(smaps, &out->text) == 0;
	if (out->has_text)
		out->other_huge_bytes = other_huge_bytes(smaps);
}

/* PID has ended when this returns, or AFTER_US have passed. */
static void wait_a_while(pid_t pid, int64_t after_us)
{
	cleanup_close int pidfd = pidfd_of(pid);
	struct pollfd polled = {.fd = pidfd, .events = POLLIN};
	struct timespec timeout = {.tv_sec = after_us / 1000000, .tv_nsec = after_us % 1000000 * 1000};
	if (pidfd >= 0)
		ppoll(&polled, 1, &timeout, NULL);
}

static double microseconds(const struct timeval *time)
{
	return (double)time->tv_sec * 1e6 + (double)time->tv_usec;
}

int run_start(const struct run_request *request, struct started_run *out)
{
	int go[2], errors[2];
	if (pipe2(go, O_CLOEXEC) < 0)
		return -1;
	cleanup_close int go_read = go[0];
	cleanup_close int go_write = go[1];
	if (pipe2(errors, O_CLOEXEC) < 0)
		return -1;
	cleanup_close int errors_read = errors[0];
	cleanup_close int errors_write = errors[1];
	pid_t pid = fork();
	if (pid == 0) {
		close(go_write);
		become(request, go_read, errors_write);
	}
	if (pid < 0)
		return -1;
	*out = (struct started_run){pid, steal_fd(&go_write), steal_fd(&errors_read)};
	return 0;
}

int run_go(struct started_run *run)
{
	int error = 0;
	close(run->go_fd);
	ssize_t got = retry(read(run->errors_fd, &error, sizeof error)); /* nothing: exec has closed it */
	close(run->errors_fd);
	errno = error;
	return got == (ssize_t)sizeof error ? -1 : 0;
}

int run_measured(const struct run_request *request, struct measured_run *out)
{
	struct started_run run;
	struct rusage usage;
	struct perf_counters counters;
	struct itlb_events events;
	*out = (struct measured_run){0};
	if (run_start(request, &run) < 0)
		return -1;
	arch_itlb_events(&events);
	out->has_counters = perf_counters_open(run.pid, &events, true, &counters) == 0;
	int64_t began_us = now_us();
	int error = run_go(&run) < 0 ? errno : 0;
	if (request->look_at_us && !error) {
		wait_a_while(run.pid, request->look_at_us);
		look_at_text(run.pid, out);
	}
	if (retry(wait4(run.pid, &out->status, 0, &usage)) < 0)
		error = errno;
	out->wall_us = (double)(now_us() - began_us);
	if (out->has_counters) {
		perf_counters_add(&counters, out->counts);
		perf_counters_close(&counters);
	}
	out->user_us = microseconds(&usage.ru_utime);
	out->system_us = microseconds(&usage.ru_stime);
	out->faults = (double)usage.ru_minflt + (double)usage.ru_majflt;
	errno = error;
	return error ? -1 : 0;
}
