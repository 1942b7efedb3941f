#include "launch/tracer.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/retry.h"
#include "engine/tracee.h"
#include "launch/follow.h"
#include "launch/program.h"
#include "launch/rehearse.h"
#include "launch/shared.h"
#include "launch/sink.h"

#define PARENT_WORD_MS 2000

#define FILES_NEEDED 16

static void close_inherited_files(void)
{
	close_range(0, ~0U, 0);
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
	return error_set(err, "fd-limit", "RLIMIT_NOFILE allows %ju open files, the tracer needs %d",
	                 (uintmax_t)limit.rlim_cur, FILES_NEEDED);
}

static bool is_here(const char *folder)
{
	struct stat here, there;
	return stat(".", &here) == 0 && stat(folder, &there) == 0 && here.st_dev == there.st_dev &&
	       here.st_ino == there.st_ino;
}

/* What PATH, of a report, is behind the folder that names P's own descriptors; NULL where it is elsewhere. */
static const char *descriptor_in(const char *path)
{
	static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"};
	for (unsigned i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		if (strncmp(path, folders[i], strlen(folders[i])) == 0)
			return path + strlen(folders[i]);
	}
	return strcmp(path, "/dev/stdout") == 0 ? "1" : strcmp(path, "/dev/stderr") == 0 ? "2" : NULL;
}

/* PATH, of a report, as it can be opened by us from anywhere, into BUF. Returns 0, or -1 where it cannot be said. */
static int path_for_us(const char *path, pid_t parent_pid, char *buf, size_t buf_bytes)
{
	char folder[PATH_MAX];
	const char *descriptor = descriptor_in(path);
	int len;
	if (descriptor)
		len = snprintf(buf, buf_bytes, "/proc/%d/fd/%s", (int)parent_pid, descriptor);
	else if (path[0] == '/' || strcmp(path, "-") == 0)
		len = snprintf(buf, buf_bytes, "%s", path);
	else if (getcwd(folder, sizeof folder) && is_here(folder))
		len = snprintf(buf, buf_bytes, "%s/%s", folder, path);
	else
		return -1;
	return len < (int)buf_bytes ? 0 : -1;
}

/*
 * A wrapper may leave its working directory and unmount it: it must not be busy with us. A report is opened later, by a
 * path that means the same then; where that cannot be we stay.
 */
static void leave_folder(struct launch *launch, pid_t parent_pid)
{
	static struct options options; /* ours from here on */
	static char report[2 * PATH_MAX];
	if (launch->options->report_path) {
		if (path_for_us(launch->options->report_path, parent_pid, report, sizeof report) < 0)
			return;
		options = *launch->options;
		options.report_path = report;
		launch->options = &options;
	}
	(void)!chdir("/");
}

static void detach_from_surroundings(struct launch *launch, pid_t parent_pid)
{
	/* Only until P is seized: from then on its end wakes us. */
	if (!launch->tracer_is_orphan)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would reap what we wait for */
	setsid();
	sink_remember_stderr();
	close_inherited_files();
	leave_folder(launch, parent_pid);
	raise_own_limits();
	prctl(PR_SET_NAME, "hugexec-tracer", 0, 0, 0);
}

_Noreturn static void refuse(struct launch *launch, const struct error *err)
{
	launch->shared->refusal = *err;
	handshake_set(launch->shared, HANDSHAKE_REFUSED);
	_exit(0);
}

/*
 * Have P stop at its system calls before it is told to go on: execvp(3) may pass over the file that was looked at, and
 * find another one, which must run untraced.
 */
static void watch_calls(const struct tracee *tracee)
{
	int status;
	ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0);
	if (retry(waitpid(tracee->pid, &status, __WALL)) < 0 || !WIFSTOPPED(status))
		return; /* follow() will hear of it */
	bool is_signal = status >> 16 == 0;
	if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
		ptrace(PTRACE_LISTEN, tracee->pid, 0, 0); /* a stop signal's: it stands until it is continued */
	else
		ptrace(PTRACE_SYSCALL, tracee->pid, 0, is_signal ? (long)WSTOPSIG(status) : 0L);
}

_Noreturn void tracer_main(struct launch *launch, pid_t parent_pid)
{
	struct error err = {0};
	struct tracee tracee;
	launch->tracer_pid = getpid();
	detach_from_surroundings(launch, parent_pid);
	fault_point("tracer-started");
	if (handshake_wait(launch->shared, HANDSHAKE_BEGUN, PARENT_WORD_MS) != HANDSHAKE_MAY_TRACE ||
	    (!launch->tracer_is_orphan && getppid() != parent_pid))
		_exit(0);
	if (check_files(&err) < 0 || rehearse(&err) < 0 ||
	    tracee_seize(&tracee, parent_pid, PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT, &err) < 0)
		refuse(launch, &err);
	tracee.known_filters = OWN_FILTERS;
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	fault_point("seized");
	if (!program_may_trace_privileged())
		watch_calls(&tracee);
	handshake_set(launch->shared, HANDSHAKE_SEIZED);
	follow(launch, &tracee, 1);
}
