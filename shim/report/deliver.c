/* SPDX-License-Identifier: Apache-2.0 */
#include "report/deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/pidfd.h"
#include "base/proc.h"
#include "base/say.h"
#include "base/utf8.h"
#include "report/count_message.h"

#define REPORT_FLAGS (O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

#define HOST_MS  250 /* more than journal and counter are waited for */
#define CHILD_MS 50  /* more than its writing, for a child to begin and end */

/* The workload's files, as they were when it was launched. */
static struct {
	int report_fd;    /* the report's file; -1: it is opened when there is something to write */
	int report_errno; /* why it could not be opened; 0 */
	bool was_open;    /* standard error: which file it was */
	struct stat st;
	char terminal[64]; /* its path; "" if it is none */
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
 * Standard error of PID (0: ours), as a descriptor of our own; -1 if it has none. A program that runs may have given
 * the number to a file with its data: unless ANY_FILE only the one is taken that it was launched with. A terminal is
 * opened anew, because many a program (all of GNU coreutils) closes its standard error before it ends.
 */
static int open_stderr(pid_t pid, bool any_file)
{
	if (pid == 0)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	cleanup_close int fd = pidfd_take(pid, STDERR_FILENO);
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

/* What there is to tell, if, and how. */
struct telling {
	const struct report_target *target;
	const struct report *report;
	pid_t stderr_of;
	bool fails_launch;
	int report_errno;      /* why the report is not where it was to be; 0 */
	const char *unwritten; /* the names of the files that have not taken it; NULL: none */
	int64_t deadline_ms;   /* for all places */
	int place_ms;          /* how long the one that is written to may take: half of what is left */
};

int deliver_open_report(const struct report_target *target)
{
	if (strcmp(target->path, "-") == 0)
		return open_stderr(0, true);
	return open(target->path, REPORT_FLAGS | O_CREAT, 0644);
}

int deliver_open_stderr(void)
{
	return open_stderr(0, true);
}

/* Whether PATH may name a file that is open in this process (/dev/stdout, /proc/self/fd/3), and is on no disk. */
static bool may_be_open_file(const char *path)
{
	return strcmp(path, "-") == 0 || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* Open anew, by FLAGS, the file that is open at FD. */
static int open_again(int fd, int flags)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags);
}

/*
 * Of a plain file keep the place (O_PATH) instead: to close a file for writing may be to wait for a server, also at our
 * end, which the workload waits for.
 */
static void keep_place_only(int *fd)
{
	struct stat st;
	int there = fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) ? open_again(*fd, O_PATH | O_CLOEXEC) : -1;
	if (there < 0)
		return;
	close(*fd);
	*fd = there;
}

static int open_at_launch(const struct report_target *target)
{
	cleanup_close int fd = deliver_open_report(target);
	keep_place_only(&fd);
	at_launch.report_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	at_launch.report_errno = at_launch.report_fd < 0 ? errno : 0;
	return at_launch.report_fd;
}

int deliver_keep_files(const struct report_target *target)
{
	const char *path = target->path;
	remember_stderr();
	return path && strcmp(path, "-") != 0 && may_be_open_file(path) ? open_at_launch(target) : -1;
}

void deliver_keep_report(const struct report_target *target)
{
	if (target->path && !may_be_open_file(target->path))
		open_at_launch(target);
}

/* The report's file; -1 with errno. */
static int open_report(const struct telling *telling)
{
	if (strcmp(telling->target->path, "-") == 0)
		return open_stderr(telling->stderr_of, false);
	if (at_launch.report_fd >= 0)
		return fcntl(at_launch.report_fd, F_GETFL) & O_PATH ? open_again(at_launch.report_fd, REPORT_FLAGS)
		                                                    : fcntl(at_launch.report_fd, F_DUPFD_CLOEXEC, 0);
	errno = at_launch.report_errno;
	return errno ? -1 : deliver_open_report(telling->target);
}

static int say_not_started(int fd, const struct report *report, int timeout_ms)
{
	char reason[ERROR_TEXT_BYTES];
	char exe[sizeof report->exe];
	char line[sizeof reason + sizeof exe + 128];
	int bytes =
	    snprintf(line, sizeof line, "hugexec: %s: not started, as \"on_error\": \"fail\" asks: %s\n",
	             text_printable(report->exe, exe, sizeof exe), error_text(&report->reason, reason, sizeof reason));
	return say(fd, line, (size_t)bytes, timeout_ms);
}

/*
 * In a child: the first of its descriptors makes room if RLIMIT_NOFILE leaves none. For a client it may do no more
 * than this user: a write can ask who makes it, not only who has opened the file (some of /proc).
 */
static int begin_child(const struct delivery *delivery)
{
	if (!aside_is_child())
		return 0;
	close(STDIN_FILENO);
	if (!delivery || geteuid() != 0)
		return 0;
	return setgroups(0, NULL) < 0 || setresgid(delivery->gid, delivery->gid, delivery->gid) < 0 ||
	               setresuid(delivery->uid, delivery->uid, delivery->uid) < 0
	           ? errno
	           : 0;
}

/* Each of these writes to one place, and returns 0 or an errno value. */

static int write_line(void *context)
{
	const struct telling *telling = context;
	const struct delivery *delivery = telling->target->delivery;
	int failed = begin_child(delivery);
	if (failed)
		return failed;
	/* A program that is not started has not run. */
	cleanup_close int fd = delivery ? -1 : open_stderr(telling->stderr_of, telling->fails_launch);
	int to = delivery ? delivery->stderr_fd : fd < 0 && telling->stderr_of == 0 ? STDERR_FILENO : fd;
	if (to < 0)
		return 0; /* the program has closed it */
	int result = telling->fails_launch ? say_not_started(to, telling->report, telling->place_ms)
	                                   : report_to_human(to, telling->report, telling->place_ms);
	return result < 0 ? errno : 0;
}

static int write_report(void *context)
{
	const struct telling *telling = context;
	const struct delivery *delivery = telling->target->delivery;
	int failed = begin_child(delivery);
	if (failed)
		return failed;
	if (delivery)
		return report_append(delivery->report_fd, telling->report, telling->place_ms) < 0 ? errno : 0;
	/* Should a disk hold on to the child for ever, it must not hold a pipe of the workload's open. */
	if (aside_is_child() && !may_be_open_file(telling->target->path))
		close_all_but(at_launch.report_fd);
	cleanup_close int fd = open_report(telling);
	return fd < 0 || report_append(fd, telling->report, telling->place_ms) < 0 ? errno : 0;
}

static int write_complaint(void *context)
{
	const struct telling *telling = context;
	char line[4608];
	begin_child(NULL);
	cleanup_close int fd = open_stderr(telling->stderr_of, false);
	int bytes = snprintf(line, sizeof line, "hugexec: cannot write the report to %s: %s\n", telling->target->path,
	                     why(telling->report_errno));
	return fd < 0 || bytes >= (int)sizeof line || say(fd, line, (size_t)bytes, telling->place_ms) < 0;
}

/* A descriptor that tells when PID ends; -1 if there is none, or it has ended. */
static int open_living(pid_t pid)
{
	cleanup_close int pidfd = pid > 0 ? pidfd_of(pid) : -1;
	return pidfd >= 0 && !pidfd_has_ended(pidfd) ? steal_fd(&pidfd) : -1;
}

/*
 * Have a child write to one place: a disk may keep it for ever. If no child can be started, as far as can be
 * done without waiting for long; but not with a client's files. Returns 0 or an errno value.
 */
static int tell(struct telling *telling, int (*write)(void *context))
{
	int64_t left_ms = telling->deadline_ms - now_ms();
	cleanup_close int target = open_living(telling->stderr_of);
	telling->place_ms = left_ms > 0 ? (int)left_ms / 2 : 0;
	int failed = aside(write, telling, telling->place_ms + CHILD_MS, target);
	if (failed < 0 && errno == EAGAIN && !telling->target->delivery)
		return write(telling);
	return failed < 0 ? errno : failed;
}

bool deliver_tells_build_id(const struct report_target *target)
{
	return target->path || (target->delivery && target->delivery->report_fd >= 0);
}

/* Tell all files that ask for it. Returns the names of those that have not taken it, NULL: none. */
static const char *tell_files(struct telling *telling)
{
	const struct report_target *target = telling->target;
	const struct delivery *delivery = target->delivery;
	/* A policy that cannot be used: whoever sits there is to see it, though nobody has asked. */
	bool is_seen =
	    report_blames_policy(telling->report) && !delivery && telling->stderr_of == 0 && isatty(STDERR_FILENO);
	bool wants_line = target->verbosity == VERBOSITY_VERBOSE || telling->fails_launch ||
	                  (is_seen && target->verbosity != VERBOSITY_QUIET);
	bool lacks_line = wants_line && (!delivery || delivery->stderr_fd >= 0) && tell(telling, write_line) != 0;
	if (deliver_tells_build_id(target))
		telling->report_errno = tell(telling, write_report);
	if (!telling->report_errno)
		return lacks_line ? "standard-error" : NULL;
	if (!delivery && target->verbosity != VERBOSITY_QUIET && strcmp(target->path, "-") != 0)
		tell(telling, write_complaint);
	return lacks_line ? "standard-error report" : "report";
}

/* The host's journal and counters. */
static int write_host(void *context)
{
	const struct telling *telling = context;
	report_to_journal(telling->report, telling->unwritten);
	if (!metrics_add(METRICS_FILE, telling->report))
		count_message_send(METRICS_SOCKET, telling->report);
	return 0;
}

/*
 * A seccomp filter of the workload's may kill for the calls that this takes (systemd: SystemCallFilter=~@network-io).
 * So a child makes them: of a tracer, which would stay a zombie else. The target itself would not come to its exec; it
 * has a child only if it has had one before, for which a filter may kill as well. If not, the host is not told.
 */
static void tell_host(struct telling *telling)
{
	bool is_target = telling->report->pid == getpid();
	cleanup_free char *status = is_target ? proc_own_status() : NULL;
	bool may_be_filtered = is_target ? proc_may_be_filtered(status) : prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0;
	if (!may_be_filtered)
		write_host(telling);
	else if (!is_target || aside_is_proven())
		aside(write_host, telling, HOST_MS, -1);
}

void deliver_report(const struct report_target *target, const struct report *report, pid_t stderr_of, bool fails_launch,
                    int timeout_ms)
{
	struct telling telling = {
	    .target = target,
	    .report = report,
	    .stderr_of = stderr_of,
	    .fails_launch = fails_launch,
	    .deadline_ms = now_ms() + timeout_ms,
	};
	telling.unwritten = tell_files(&telling);
	/* What no rule is about is not worth a line in anybody's journal, nor the time to count it; nor is what another
	 * tells and counts. */
	if (report->reason.code == REASON_NO_RULE || report->reason.code == REASON_FOLLOWED_ALREADY)
		return;
	tell_host(&telling);
}
