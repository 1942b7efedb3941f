#include "launch/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "metrics.h"

/* Standard error of PID (0: ours), as a descriptor of our own; -1 where it has none. */
static int open_stderr(pid_t pid)
{
	if (pid == 0)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0);
}

static void complain(const struct options *options, pid_t stderr_of, const char *path, int errnum)
{
	if (options->verbosity == VERBOSITY_QUIET)
		return;
	cleanup_close int fd = open_stderr(stderr_of);
	if (fd >= 0)
		dprintf(fd, "hugexec: cannot write the report to %s: %s\n", path, strerror(errnum));
}

static void append_to_file(const struct options *options, const struct report *report, pid_t stderr_of)
{
	const char *path = options->report_path;
	cleanup_close int fd =
	    strcmp(path, "-") == 0
	        ? open_stderr(stderr_of)
	        : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (fd < 0 || report_append(fd, report) < 0)
		complain(options, stderr_of, path, errno);
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
		TEMP_FAILURE_RETRY(waitpid(child, NULL, __WALL));
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

void sink_report(const struct options *options, const struct report *report, pid_t stderr_of, bool fails_launch)
{
	/* What no rule is about is not worth a line in anybody's journal, nor the time to count it. */
	if (strcmp(report->reason.word, "no-rule") != 0) {
		report_to_journal(report);
		metrics_add(METRICS_FILE, report);
	}
	bool want_line =
	    options->verbosity == VERBOSITY_VERBOSE || (fails_launch && options->verbosity != VERBOSITY_QUIET);
	if (want_line) {
		cleanup_close int fd = open_stderr(stderr_of);
		int to = fd < 0 && stderr_of == 0 ? STDERR_FILENO : fd;
		if (to >= 0 && fails_launch)
			say_not_started(to, report);
		else if (to >= 0)
			report_to_human(to, report);
	}
	if (!options->report_path)
		return;
	if (stderr_of == 0 && out_of_descriptors())
		append_from_child(options, report);
	else
		append_to_file(options, report, stderr_of);
}
