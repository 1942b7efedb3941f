/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service - a daemon with as much text as bigtext.py gives it, which does what the units of the tests ask for.
 *
 *   service [OPTION...]
 *     --socket=PATH    listen there; without it on descriptor 3, where systemd has passed one
 *     --notify         tell systemd when it is ready, reloads and stops (sd_notify(3))
 *     --watchdog=MS    tell systemd every MS milliseconds that it is alive
 *     --fork=FILE      become a daemon, the traditional way, with its PID in FILE
 *     --child          start a child that does nothing
 *     --deaf           ignore SIGTERM
 *     --say            print the arguments, a line each, in brackets; exit
 *
 * A client sends a line and gets one: "ask" -> "KEY=VALUE ..." about this process; "exit N", "kill N" end it. SIGHUP is
 * counted. Every answer has run through the whole text and says whether that was right.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

extern uint64_t bigtext_walk(uint64_t start);
extern const uint64_t bigtext_pages;

static volatile sig_atomic_t hangups, stopped;
static int notifies;

static int text_is_right(void)
{
	uint64_t sum = 1;
	for (uint64_t i = 0; i < bigtext_pages; i++) {
		sum += (i * 2654435761U) & 0x7fffffff;
		sum = sum << 1 | sum >> 63;
	}
	return bigtext_walk(1) == sum;
}

static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!notifies || !path)
		return;
	size_t length = strlen(path);
	memcpy(address.sun_path, path, length + 1);
	if (*path == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
	close(fd);
}

static void on_hangup(int number)
{
	(void)number;
	hangups++;
}

static void on_term(int number)
{
	(void)number;
	stopped = 1;
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void become_daemon(const char *pid_file)
{
	if (fork() > 0) {
		/* The parent stays until the daemon is ready, as daemon(7) asks: its PID is in the file then. */
		while (access(pid_file, F_OK) < 0)
			usleep(10000);
		_exit(0);
	}
	setsid();
	if (fork() > 0)
		_exit(0);
	char partial[256];
	snprintf(partial, sizeof partial, "%s.new", pid_file);
	FILE *file = fopen(partial, "w");
	if (!file)
		exit(1);
	fprintf(file, "%d\n", getpid());
	fclose(file);
	rename(partial, pid_file);
}

static const char *or_none(const char *value)
{
	return value ? value : "none";
}

static void answer(int client)
{
	char line[256] = "";
	ssize_t got = read(client, line, sizeof line - 1);
	if (got <= 0)
		return;
	int number = atoi(line + 5);
	if (strncmp(line, "exit ", 5) == 0)
		exit(number);
	if (strncmp(line, "kill ", 5) == 0) {
		signal(number, SIG_DFL);
		raise(number);
	}
	dprintf(client, "pid=%d uid=%u right=%d hangups=%d listen_pid=%s listen_fds=%s watchdog=%s\n", getpid(),
	        getuid(), text_is_right(), (int)hangups, or_none(getenv("LISTEN_PID")), or_none(getenv("LISTEN_FDS")),
	        or_none(getenv("WATCHDOG_USEC")));
}

static void serve(int fd, int watchdog_ms)
{
	int told = 0;
	while (!stopped) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int ready = poll(&poll_fd, fd >= 0 ? 1 : 0, watchdog_ms ? watchdog_ms : 200);
		if (watchdog_ms)
			notify("WATCHDOG=1");
		if (told != hangups) {
			char reloading[128];
			struct timespec now;
			clock_gettime(CLOCK_MONOTONIC, &now);
			snprintf(reloading, sizeof reloading, "RELOADING=1\nMONOTONIC_USEC=%lld",
			         (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
			told = hangups;
			notify(reloading);
			notify("READY=1");
		}
		if (ready <= 0)
			continue;
		int client = accept(fd, NULL, NULL);
		if (client >= 0) {
			answer(client);
			close(client);
		}
	}
	notify("STOPPING=1");
}

int main(int argc, char **argv)
{
	const char *path = NULL, *pid_file = NULL;
	int watchdog_ms = 0, child = 0, deaf = 0;
	if (argc > 1 && strcmp(argv[1], "--say") == 0) {
		for (int i = 0; i < argc; i++)
			printf("[%s]\n", argv[i]);
		return text_is_right() ? 0 : 2;
	}
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--socket=", 9) == 0)
			path = argv[i] + 9;
		else if (strncmp(argv[i], "--fork=", 7) == 0)
			pid_file = argv[i] + 7;
		else if (strncmp(argv[i], "--watchdog=", 11) == 0)
			watchdog_ms = atoi(argv[i] + 11);
		notifies |= strcmp(argv[i], "--notify") == 0 || watchdog_ms;
		child |= strcmp(argv[i], "--child") == 0;
		deaf |= strcmp(argv[i], "--deaf") == 0;
	}
	struct sigaction action = {.sa_handler = on_hangup};
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = deaf ? SIG_IGN : on_term;
	sigaction(SIGTERM, &action, NULL);
	if (child && fork() == 0) {
		signal(SIGTERM, SIG_DFL);
		for (;;)
			pause();
	}
	int fd = path ? listen_on(path) : getenv("LISTEN_FDS") ? 3 : -1;
	if (pid_file)
		become_daemon(pid_file);
	notify("READY=1");
	serve(fd, watchdog_ms);
	return 0;
}
