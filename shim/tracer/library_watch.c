/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/library_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/open_in_root.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "host/host.h"
#include "tracer/attach.h"

/*
 * After the launch, and after each word that somebody has opened a file, the program is looked at after these
 * intervals: a quarter of the time that has passed since then.
 */
#define FIRST_LOOK_US INT64_C(200)
#define LAST_LOOK_US  INT64_C(1000000)

/* ld.so makes no step for so long: it is through, unless it relocates the library, which takes as long as it takes. */
#define SETTLED_US   INT64_C(2000)
/* It should have made relocation data read-only by then, if it ever does. */
#define RELOCATED_US INT64_C(1000000)

/* So often it is believed that something happens; after that only the clock counts, for whoever opens a file again and
 * again. */
#define WORDS_MAX 500

/* A process whose threads do not stop just now is attached to again. */
#define TRIES_MAX    5
#define TRY_AGAIN_US INT64_C(100000)

/* What is known of one library. */
struct sight {
	uint64_t look;            /* awaited_library_look(); 0: not mapped */
	int64_t seen_us, same_us; /* since when it is mapped, and as it is */
	unsigned tries;
	bool is_done;
};

struct watcher {
	const struct library_watch *watch;
	pid_t pid;
	struct attach_target target;
	int inotify_fd; /* -1: only the clock tells */
	unsigned words_left;
	int64_t word_us, looked_us, until_us; /* CLOCK_MONOTONIC */
	struct sight sights[AWAITED_MAX];
};

int library_watch_check(const struct trace_job *job, const struct followed *followed, struct error *err)
{
	static const char hint[] = "hugexecctl attach puts the ends of its text on huge pages once it is loaded";
	pid_t pid = followed->tracee.pid;
	const char *why = NULL;
	if (!ARCH_ATTACHES)
		return error_set(err, REASON_ATTACH_UNSUPPORTED,
		                 "its ends stay on small pages: a program that runs is left alone on " ARCH_NAME);
	if (!job->door->may_stay)
		why = "a tracer from outside does not stay";
	else if (job->child_pid || !followed->is_root)
		why = "the tracer would be a child that the program did not start";
	else if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0)
		return error_set(err, REASON_SECCOMP, "a filter is in force, under which no tracer stays; %s", hint);
	else if (getppid() == host_parent_of(pid))
		why = "the program's parent would find a child that it did not start";
	else if (host_is_in_service(getpid()) || host_is_in_service(pid))
		why = "systemd could take the tracer for the service's main process";
	return why ? error_set(err, REASON_NOT_AWAITED, "nobody waits for it: %s; %s", why, hint) : 0;
}

/* Have the kernel tell when somebody opens one of the libraries' files, by whatever name and mount. */
static void listen(struct watcher *watcher)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/root", (int)watcher->pid);
	cleanup_close int root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	watcher->inotify_fd = root_fd < 0 ? -1 : inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	for (unsigned i = 0; i < watcher->watch->libraries.count && watcher->inotify_fd >= 0; i++) {
		cleanup_close int fd = open_in_root(root_fd, watcher->watch->libraries.list[i].path, O_PATH);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (fd >= 0)
			inotify_add_watch(watcher->inotify_fd, path, IN_OPEN);
	}
}

/* Until NEXT_US, or there is news. Returns false if the program has ended. */
static bool wait_for_news(struct watcher *watcher, int64_t next_us)
{
	char news[32 * sizeof(struct inotify_event)];
	struct pollfd polls[] = {{.fd = watcher->target.pidfd, .events = POLLIN},
	                         {.fd = watcher->inotify_fd, .events = POLLIN}};
	int64_t left_us = next_us - now_us();
	struct timespec timeout = {0};
	if (left_us > 0)
		timeout = (struct timespec){(time_t)(left_us / 1000000), (long)(left_us % 1000000 * 1000)};
	if (ppoll(polls, 2, &timeout, NULL) < 0 || polls[0].revents)
		return false;
	if (!polls[1].revents)
		return true;
	while (read(watcher->inotify_fd, news, sizeof news) > 0)
		continue;
	watcher->word_us = now_us();
	if (--watcher->words_left == 0) {
		close(watcher->inotify_fd);
		watcher->inotify_fd = -1;
	}
	return true;
}

/* Whether LIBRARY is mapped in SPACE, and ld.so is through with it. */
static bool is_ready(struct watcher *watcher, const struct address_space *space, const struct awaited_library *library,
                     struct sight *sight)
{
	bool is_writable;
	int64_t now = now_us();
	uint64_t look = awaited_library_look(space, library, &is_writable);
	if (look && !sight->look) {
		sight->seen_us = now;
		if (watcher->words_left > 1) {
			watcher->words_left--;
			watcher->word_us = now;
		}
	}
	if (look != sight->look)
		sight->same_us = now;
	sight->look = look;
	return look && now - sight->same_us >= SETTLED_US && (!is_writable || now - sight->seen_us >= RELOCATED_US);
}

enum { DONE, BUSY };

static int attach(const struct watcher *watcher, const struct awaited_library *library)
{
	const struct library_watch *watch = watcher->watch;
	struct attach_result attached = {.report = {.pid = watcher->pid}};
	snprintf(attached.report.exe, sizeof attached.report.exe, "%s", watch->exe);
	snprintf(attached.report.rule, sizeof attached.report.rule, "%s", watch->rule);
	attach_awaited(&watcher->target, &watch->settings, library, &attached);
	return attached.report.reason.code == REASON_THREADS_BUSY ? BUSY : DONE;
}

/* In a process of its own, whose end lets go of everything. */
static void take(struct watcher *watcher, const struct awaited_library *library, struct sight *sight)
{
	int status = 0;
	fault_point("awaited");
	pid_t child = aside_is_possible() ? fork() : -1;
	if (child == 0)
		_exit(attach(watcher, library));
	if (child > 0)
		retry(waitpid(child, &status, 0));
	bool is_busy = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == BUSY;
	sight->is_done = !is_busy || ++sight->tries == TRIES_MAX;
	sight->same_us = now_us() + TRY_AGAIN_US;
}

/* Look at the program, and do what is to be done. Returns whether there is anything left to wait for. */
static bool look(struct watcher *watcher)
{
	const struct awaited_libraries *libraries = &watcher->watch->libraries;
	struct error ignored;
	struct address_space space;
	bool ready[AWAITED_MAX] = {false}, is_left = false;
	if (attach_target_check(&watcher->target, &ignored) < 0)
		return false; /* it runs another program by now */
	if (address_space_read(watcher->pid, &space, NULL) == 0) {
		for (unsigned i = 0; i < libraries->count; i++)
			ready[i] = !watcher->sights[i].is_done &&
			           is_ready(watcher, &space, &libraries->list[i], &watcher->sights[i]);
		address_space_free(&space);
	}
	for (unsigned i = 0; i < libraries->count; i++) {
		if (ready[i])
			take(watcher, &libraries->list[i], &watcher->sights[i]);
		is_left |= !watcher->sights[i].is_done;
	}
	watcher->looked_us = now_us();
	return is_left;
}

static int64_t next_look_us(const struct watcher *watcher)
{
	int64_t interval_us = (watcher->looked_us - watcher->word_us) / 4;
	interval_us = interval_us < FIRST_LOOK_US ? FIRST_LOOK_US : interval_us;
	int64_t next_us = watcher->looked_us + (interval_us > LAST_LOOK_US ? LAST_LOOK_US : interval_us);
	return next_us < watcher->until_us ? next_us : watcher->until_us;
}

/* Of the launch's files none stays open: a pipe that the report goes to may be waited for. */
static void close_files(int kept)
{
	close_all_but(kept);
	for (int i = 0; i < 3; i++) {
		if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
			break;
	}
}

_Noreturn void library_watch_run(struct tracee *tracee, const struct library_watch *watch)
{
	struct error ignored;
	int64_t now = now_us();
	struct watcher watcher = {.watch = watch,
	                          .pid = tracee->pid,
	                          .words_left = WORDS_MAX,
	                          .word_us = now,
	                          .looked_us = now,
	                          .until_us = now + (int64_t)watch->settings.follow_timeout_s * 1000000};
	if (attach_target_find(tracee->pid, &watcher.target, &ignored) < 0)
		_exit(0);
	tracee_detach(tracee);
	close_files(watcher.target.pidfd);
	prctl(PR_SET_NAME, "hugexec-watcher", 0, 0, 0);
	fault_point("awaiting");
	listen(&watcher);
	while (now_us() < watcher.until_us) {
		if (!wait_for_news(&watcher, next_look_us(&watcher)))
			break;
		/* A word comes before the mapping does, and one that follows the last one at once can wait. */
		if (now_us() - watcher.looked_us >= FIRST_LOOK_US && !look(&watcher))
			break;
	}
	_exit(0);
}
