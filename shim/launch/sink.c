#include "launch/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "base/text.h"
#include "metrics.h"

/* How long what was done for somebody else may take to be written to his files. */
#define DELIVERY_MS 1000

/* Which file standard error was when the workload was launched. */
static struct {
	bool was_open;
	struct stat st;
	char terminal[64]; /* its path; "" where it is none */
} at_launch;

void sink_remember_stderr(void)
{
	at_launch.was_open = fstat(STDERR_FILENO, &at_launch.st) == 0;
	if (at_launch.was_open && S_ISCHR(at_launch.st.st_mode) &&
	    ttyname_r(STDERR_FILENO, at_launch.terminal, sizeof at_launch.terminal) != 0)
		at_launch.terminal[0] = '\0';
}

static bool is_as_at_launch(int fd)
{
	struct stat st;
	return at_launch.was_open && fstat(fd, &st) == 0 && st.st_dev == at_launch.st.st_dev &&
	       st.st_ino == at_launch.st.st_ino && st.st_rdev == at_launch.st.st_rdev;
}

/*
 * Standard error of PID (0: ours), as a descriptor of our own; -1 where it has none. A program that runs may have given
 * the number to a file with its data: unless ANY_FILE only the one is taken that it was launched with. A terminal is
 * opened anew, because many a program (all of GNU coreutils) closes its standard error before it ends.
 */
static int open_stderr(pid_t pid, bool any_file)
{
	if (pid == 0)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	cleanup_close int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0);
	if (fd >= 0 && (any_file || is_as_at_launch(fd)))
		return steal_fd(&fd);
	cleanup_close int terminal =
	    at_launch.terminal[0] ? open(at_launch.terminal, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;
	return terminal >= 0 && is_as_at_launch(terminal) ? steal_fd(&terminal) : -1;
}

static void complain(const struct options *options, pid_t stderr_of, const char *path, int errnum)
{
	if (options->verbosity == VERBOSITY_QUIET)
		return;
	cleanup_close int fd = open_stderr(stderr_of, false);
	if (fd >= 0)
		dprintf(fd, "hugexec: cannot write the report to %s: %s\n", path, strerror(errnum));
}

static int open_report(const struct options *options, pid_t stderr_of)
{
	if (strcmp(options->report_path, "-") == 0)
		return open_stderr(stderr_of, false);
	return open(options->report_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
}

static void append_to_file(const struct options *options, const struct report *report, pid_t stderr_of)
{
	cleanup_close int fd = open_report(options, stderr_of);
	if (fd < 0 || report_append(fd, report) < 0)
		complain(options, stderr_of, options->report_path, errno);
}

int sink_open_report(const struct options *options)
{
	int fd = open_report(options, 0);
	if (fd < 0)
		complain(options, 0, options->report_path, errno);
	return fd;
}

int sink_open_stderr(void)
{
	return open_stderr(0, true);
}

/* The caller may have no descriptor left (RLIMIT_NOFILE): a child that closes what it inherited has. */
static void append_from_child(const struct options *options, const struct report *report)
{
	pid_t child = (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child == 0) {
		close(STDIN_FILENO);
		append_to_file(options, report, 0);
		_exit(0);
	}
	if (child > 0)
		retry(waitpid(child, NULL, __WALL));
}

static bool out_of_descriptors(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

static void say_not_started(int fd, const struct report *report)
{
	char reason[sizeof report->reason + 2];
	char exe[sizeof report->exe];
	dprintf(fd, "hugexec: %s: not started, as \"on_error\": \"fail\" asks: %s\n",
	        text_printable(report->exe, exe, sizeof exe), error_text(&report->reason, reason, sizeof reason));
}

static void say(const struct report *report, int to, bool fails_launch)
{
	if (fails_launch)
		say_not_started(to, report);
	else
		report_to_human(to, report);
}

/* Never more than this user may do: a write can ask who makes it, not only who has opened the file (some of /proc). */
_Noreturn static void write_as(const struct delivery *delivery, const struct report *report, bool want_line,
                               bool fails_launch)
{
	bool is_root = geteuid() == 0;
	if (is_root && (setgroups(0, NULL) < 0 || setresgid(delivery->gid, delivery->gid, delivery->gid) < 0 ||
	                setresuid(delivery->uid, delivery->uid, delivery->uid) < 0))
		_exit(1);
	if (want_line && delivery->stderr_fd >= 0)
		say(report, delivery->stderr_fd, fails_launch);
	if (delivery->report_fd >= 0)
		report_append(delivery->report_fd, report);
	_exit(0);
}

/* His files may be such that writing to them lasts for ever. */
static void deliver(const struct delivery *delivery, const struct report *report, bool want_line, bool fails_launch)
{
	if (delivery->report_fd < 0 && (!want_line || delivery->stderr_fd < 0))
		return;
	pid_t child = (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child == 0)
		write_as(delivery, report, want_line, fails_launch);
	if (child < 0)
		return;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	if (retry(poll(&poll_fd, 1, DELIVERY_MS)) != 1)
		kill(child, SIGKILL);
	retry(waitpid(child, NULL, __WALL));
}

bool sink_tells_build_id(const struct options *options)
{
	return options->report_path || (options->delivery && options->delivery->report_fd >= 0);
}

void sink_report(const struct options *options, const struct report *report, pid_t stderr_of, bool fails_launch)
{
	/* What no rule is about is not worth a line in anybody's journal, nor the time to count it; nor is what another
	 * tells and counts. */
	if (strcmp(report->reason.word, "no-rule") != 0 && strcmp(report->reason.word, "followed-already") != 0) {
		report_to_journal(report);
		metrics_add(METRICS_FILE, report);
	}
	bool want_line =
	    options->verbosity == VERBOSITY_VERBOSE || (fails_launch && options->verbosity != VERBOSITY_QUIET);
	if (options->delivery) {
		deliver(options->delivery, report, want_line, fails_launch);
		return;
	}
	if (want_line) {
		/* A program that is not started has not run. */
		cleanup_close int fd = open_stderr(stderr_of, fails_launch);
		int to = fd < 0 && stderr_of == 0 ? STDERR_FILENO : fd;
		if (to >= 0)
			say(report, to, fails_launch);
	}
	if (!options->report_path)
		return;
	if (stderr_of == 0 && out_of_descriptors())
		append_from_child(options, report);
	else
		append_to_file(options, report, stderr_of);
}
