#include "launch/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/say.h"
#include "base/text.h"
#include "metrics.h"

/* The workload's files, as they were when it was launched. */
static struct {
	int report_fd;    /* the report's file; -1: it is opened when there is something to write */
	int report_errno; /* why it could not be opened; 0 */
	bool was_open;    /* standard error: which file it was */
	struct stat st;
	char terminal[64]; /* its path; "" where it is none */
} at_launch = {.report_fd = -1};

static void remember_stderr(void)
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

static const char *why(int errnum)
{
	return errnum == ETIMEDOUT ? "it takes nothing" : strerror(errnum);
}

/* What there is to tell, where, and how. */
struct telling {
	const struct options *options;
	const struct report *report;
	pid_t stderr_of;
	bool want_line, fails_launch;
	int place_ms; /* how long one place may take */
};

static void complain(const struct telling *telling, int errnum)
{
	const struct options *options = telling->options;
	if (options->verbosity == VERBOSITY_QUIET || strcmp(options->report_path, "-") == 0)
		return;
	cleanup_close int fd = open_stderr(telling->stderr_of, false);
	char line[4608];
	int bytes = snprintf(line, sizeof line, "hugexec: cannot write the report to %s: %s\n", options->report_path,
	                     why(errnum));
	if (fd >= 0 && bytes < (int)sizeof line)
		say(fd, line, (size_t)bytes, telling->place_ms);
}

int sink_open_report(const struct options *options)
{
	if (strcmp(options->report_path, "-") == 0)
		return open_stderr(0, true);
	return open(options->report_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
}

int sink_open_stderr(void)
{
	return open_stderr(0, true);
}

/* In a process of our own, whose standard input is the only descriptor that RLIMIT_NOFILE may leave for this. */
static int open_report_here(const struct options *options)
{
	int fd = sink_open_report(options);
	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	close(STDIN_FILENO);
	return sink_open_report(options);
}

int sink_keep(const struct options *options)
{
	remember_stderr();
	if (!options->report_path || strcmp(options->report_path, "-") == 0)
		return -1;
	cleanup_close int fd = open_report_here(options);
	at_launch.report_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	at_launch.report_errno = at_launch.report_fd < 0 ? errno : 0;
	return at_launch.report_fd;
}

/* The report's file; -1 with errno. */
static int open_report(const struct telling *telling)
{
	if (strcmp(telling->options->report_path, "-") == 0)
		return open_stderr(telling->stderr_of, false);
	if (at_launch.report_fd >= 0)
		return fcntl(at_launch.report_fd, F_DUPFD_CLOEXEC, 0);
	errno = at_launch.report_errno;
	if (errno)
		return -1;
	return aside_is_child() ? open_report_here(telling->options) : sink_open_report(telling->options);
}

static int say_not_started(int fd, const struct report *report, int timeout_ms)
{
	char reason[sizeof report->reason + 2];
	char exe[sizeof report->exe];
	char line[sizeof reason + sizeof exe + 128];
	int bytes =
	    snprintf(line, sizeof line, "hugexec: %s: not started, as \"on_error\": \"fail\" asks: %s\n",
	             text_printable(report->exe, exe, sizeof exe), error_text(&report->reason, reason, sizeof reason));
	return say(fd, line, (size_t)bytes, timeout_ms);
}

static int say_report(const struct telling *telling, int fd)
{
	if (telling->fails_launch)
		return say_not_started(fd, telling->report, telling->place_ms);
	return report_to_human(fd, telling->report, telling->place_ms);
}

/* What was not written, of what was to be. */
enum { UNWRITTEN_LINE = 1, UNWRITTEN_REPORT = 2 };

static int write_line(const struct telling *telling)
{
	/* A program that is not started has not run. */
	cleanup_close int fd = open_stderr(telling->stderr_of, telling->fails_launch);
	int to = fd < 0 && telling->stderr_of == 0 ? STDERR_FILENO : fd;
	return to >= 0 && say_report(telling, to) < 0 ? UNWRITTEN_LINE : 0;
}

static int write_report(const struct telling *telling)
{
	cleanup_close int fd = open_report(telling);
	if (fd >= 0 && report_append(fd, telling->report, telling->place_ms) == 0)
		return 0;
	complain(telling, errno);
	return UNWRITTEN_REPORT;
}

/* For ourselves: to the workload's own files. */
static int write_own(const struct telling *telling)
{
	int unwritten = telling->want_line ? write_line(telling) : 0;
	return unwritten | (telling->options->report_path ? write_report(telling) : 0);
}

/* For a client. Never more than this user may do: a write can ask who makes it, not only who has opened the file (some
 * of /proc). */
static int write_delivery(const struct telling *telling)
{
	const struct delivery *delivery = telling->options->delivery;
	int unwritten = 0;
	bool is_root = geteuid() == 0;
	if (is_root && (setgroups(0, NULL) < 0 || setresgid(delivery->gid, delivery->gid, delivery->gid) < 0 ||
	                setresuid(delivery->uid, delivery->uid, delivery->uid) < 0))
		return UNWRITTEN_LINE | UNWRITTEN_REPORT;
	if (telling->want_line && delivery->stderr_fd >= 0 && say_report(telling, delivery->stderr_fd) < 0)
		unwritten |= UNWRITTEN_LINE;
	if (delivery->report_fd >= 0 && report_append(delivery->report_fd, telling->report, telling->place_ms) < 0)
		unwritten |= UNWRITTEN_REPORT;
	return unwritten;
}

static bool has_something_to_write(const struct telling *telling)
{
	const struct delivery *delivery = telling->options->delivery;
	if (delivery)
		return delivery->report_fd >= 0 || (telling->want_line && delivery->stderr_fd >= 0);
	return telling->options->report_path || telling->want_line;
}

static int write_aside(void *context)
{
	const struct telling *telling = context;
	return telling->options->delivery ? write_delivery(telling) : write_own(telling);
}

/* A descriptor that tells when PID ends; -1 where there is none, or it has ended. */
static int open_living(pid_t pid)
{
	cleanup_close int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	return pidfd >= 0 && poll(&poll_fd, 1, 0) == 0 ? steal_fd(&pidfd) : -1;
}

/*
 * Write what is wanted, in a child: a disk may keep it for ever. Where there is no child to be had, as far as can be
 * done without waiting for long; but not with a client's files. Returns what was not written.
 */
static int write_all_places(struct telling *telling, int timeout_ms)
{
	if (!has_something_to_write(telling))
		return 0;
	int places =
	    (telling->want_line ? UNWRITTEN_LINE : 0) | (sink_tells_build_id(telling->options) ? UNWRITTEN_REPORT : 0);
	telling->place_ms = timeout_ms / 3;
	cleanup_close int target = open_living(telling->stderr_of);
	int unwritten = aside(write_aside, telling, timeout_ms, target);
	if (unwritten < 0 && errno == EAGAIN && !telling->options->delivery)
		unwritten = write_own(telling);
	return unwritten < 0 ? places : unwritten;
}

bool sink_tells_build_id(const struct options *options)
{
	return options->report_path || (options->delivery && options->delivery->report_fd >= 0);
}

void sink_report(const struct options *options, const struct report *report, pid_t stderr_of, bool fails_launch,
                 int timeout_ms)
{
	static const char *const unwritten_names[] = {NULL, "standard-error", "report", "standard-error report"};
	struct telling telling = {
	    .options = options,
	    .report = report,
	    .stderr_of = stderr_of,
	    .want_line =
	        options->verbosity == VERBOSITY_VERBOSE || (fails_launch && options->verbosity != VERBOSITY_QUIET),
	    .fails_launch = fails_launch,
	};
	int unwritten = write_all_places(&telling, timeout_ms);
	/* What no rule is about is not worth a line in anybody's journal, nor the time to count it; nor is what another
	 * tells and counts. */
	if (strcmp(report->reason.word, "no-rule") == 0 || strcmp(report->reason.word, "followed-already") == 0)
		return;
	report_to_journal(report, unwritten_names[unwritten & (UNWRITTEN_LINE | UNWRITTEN_REPORT)]);
	metrics_add(METRICS_FILE, report);
}
