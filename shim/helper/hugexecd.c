/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecd - traces, on their own request, processes that must not be traced from where they are.
 *
 * Two kinds of process. The server is started by the service manager when a client connects, and never touches a
 * client: for each connection it forks a worker, and the worker accepts it. Files that a client sends can be such that
 * closing them blocks (a socket that lingers), so not even the last reference to a connection may be the server's. The
 * worker (worker.h) serves one client and ends. Whatever a client does, it does to its own worker.
 *
 * The server waits for a worker's word that it has accepted (or for its end): that takes no client, and so the server
 * knows whose worker it is before it starts the next. If all seats are taken it stops looking at the socket, and a
 * client waits in the queue until it times out.
 *
 * It ends when nobody has asked for a while; systemd keeps the socket. SIGTERM: it accepts no new clients, and ends
 * after its last worker. SIGKILL: workers go on, and end as they would have.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "base/usage.h"
#include "base/version.h"
#include "config.h"
#include "helper/worker.h"

/* More than any client needs whose rule does not wait for longer than follow_timeout's default. */
#define LIFE_S (HUGEXEC_FAULTS ? 15 : 120) /* tests that see it end are builds with faults */

struct seat {
	struct server *server;
	sd_event_source *source; /* tells of the worker's end; NULL: the seat is free */
	sd_event_source *limit;  /* of the worker's life */
	pid_t worker;
	uid_t uid; /* its client's */
};

struct server {
	struct worker_options options;
	unsigned seat_count, seats_per_user, idle_s;
	struct seat *seats;
	unsigned taken;
	int listener;
	sd_event *event;
	sd_event_source *knock, *idle;
	bool stopping;
};

static const char help[] = "Usage: hugexecd [OPTIONS]\n"
                           "Put the text of processes that ask for it on huge pages, from outside, as the\n"
                           "host's policy says. Started by systemd with the socket (hugexecd.socket).\n"
                           "\n"
                           "  --policy=FILE         read this policy instead of the host's\n"
                           "  --idle=SECONDS        exit after so long without clients (default: 30)\n"
                           "  --clients=N           serve at most so many clients at once (default: 256)\n"
                           "  --clients-per-user=N  and at most so many of one user (default: 64)\n"
                           "  -h, --help            this text\n"
                           "  -V, --version         the version, its commit, and what was built in\n"
                           "\n"
                           "Exit status: 0; 1 if it cannot serve; 2 for wrong usage.\n";

static unsigned seats_of(const struct server *server, uid_t uid)
{
	unsigned count = 0;
	for (unsigned i = 0; i < server->seat_count; i++)
		count += server->seats[i].source && server->seats[i].uid == uid;
	return count;
}

/* Look at the socket only if somebody could be served; if nobody is, begin to count the idle time. */
static void go_on(struct server *server)
{
	bool may_serve = !server->stopping && server->taken < server->seat_count;
	sd_event_source_set_enabled(server->knock, may_serve ? SD_EVENT_ON : SD_EVENT_OFF);
	sd_notifyf(0, "STATUS=%u of %u clients", server->taken, server->seat_count);
	if (server->taken == 0 && server->stopping)
		sd_event_exit(server->event, 0);
	if (!server->idle)
		return;
	sd_event_source_set_time_relative(server->idle, (uint64_t)server->idle_s * 1000000U);
	sd_event_source_set_enabled(server->idle, server->taken == 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_worker_end(sd_event_source *source, const siginfo_t *info, void *context)
{
	(void)info;
	struct seat *seat = context;
	sd_event_source_unref(source);
	seat->source = NULL;
	seat->limit = sd_event_source_disable_unref(seat->limit);
	seat->server->taken--;
	go_on(seat->server);
	return 0;
}

/* A worker waits for its client, which may be frozen for ever by those who own its cgroup. */
static int on_life_limit(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source, (void)usec;
	const struct seat *seat = context;
	kill(seat->worker, SIGKILL);
	return 0;
}

static void seat_worker(struct server *server, struct seat *seat, pid_t pid)
{
	if (sd_event_add_child(server->event, &seat->source, pid, WEXITED, on_worker_end, seat) < 0)
		return;
	seat->worker = pid;
	server->taken++;
	if (sd_event_add_time_relative(server->event, &seat->limit, CLOCK_MONOTONIC, LIFE_S * UINT64_C(1000000), 0,
	                               on_life_limit, seat) < 0)
		seat->limit = NULL;
}

/* The life of a fresh worker. SAY: the end of a pipe, for the uid of the client that it has accepted. */
_Noreturn static void begin_worker(const struct server *server, int say)
{
	int connection = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	if (connection < 0)
		_exit(0);
	uid_t uid = peer_uid(connection);
	/* The seats are those that were taken when we were forked. */
	bool too_many = seats_of(server, uid) >= server->seats_per_user;
	if (write(say, &uid, sizeof uid) != sizeof uid)
		_exit(0);
	worker_main(&server->options, connection, too_many);
}

static int on_knock(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source, (void)fd, (void)events;
	struct server *server = context;
	struct seat *seat = server->seats;
	while (seat->source)
		seat++;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return 0; /* no descriptor left: again, until a worker has ended */
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		begin_worker(server, ends[1]);
	}
	close(ends[1]);
	if (pid > 0) {
		if (retry(read(ends[0], &seat->uid, sizeof seat->uid)) != sizeof seat->uid)
			seat->uid = (uid_t)-1;
		seat_worker(server, seat, pid);
	}
	close(ends[0]);
	go_on(server);
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
	(void)source, (void)info;
	struct server *server = context;
	server->stopping = true;
	sd_notify(0, "STOPPING=1");
	go_on(server);
	return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source, (void)usec;
	struct server *server = context;
	if (server->taken == 0)
		sd_event_exit(server->event, 0);
	return 0;
}

static int parse_count(const char *text, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max) {
		fprintf(stderr, "hugexecd: %s: expected a number from %u to %u\n", text, min, max);
		return -1;
	}
	*out = (unsigned)value;
	return 0;
}

#define EXIT_USAGE 2

enum parsed { PARSED_RUN, PARSED_DONE, PARSED_WRONG };

static enum parsed parse_options(int argc, char **argv, struct server *server)
{
	enum { POLICY = 256, IDLE, CLIENTS, CLIENTS_PER_USER };
	static const struct option known[] = {
	    {"policy", required_argument, NULL, POLICY},
	    {"idle", required_argument, NULL, IDLE},
	    {"clients", required_argument, NULL, CLIENTS},
	    {"clients-per-user", required_argument, NULL, CLIENTS_PER_USER},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	char message[USAGE_BYTES];
	int option, result = 0;
	while ((option = usage_option(argc, argv, "hV", known, message)) != -1 && result == 0) {
		switch (option) {
		case POLICY: server->options.policy_file = optarg; break;
		case IDLE: result = parse_count(optarg, 0, 86400, &server->idle_s); break;
		case CLIENTS: result = parse_count(optarg, 1, 4096, &server->seat_count); break;
		case CLIENTS_PER_USER: result = parse_count(optarg, 1, 4096, &server->seats_per_user); break;
		case 'h': fputs(help, stdout); return PARSED_DONE;
		case 'V': version_print("hugexecd"); return PARSED_DONE;
		default: fprintf(stderr, "hugexecd: %s\n", message); result = -1;
		}
	}
	if (result == 0 && optind < argc)
		fprintf(stderr, "hugexecd: it takes options only, not '%s'\n", argv[optind]);
	if (result < 0 || optind < argc) {
		fputs("Try 'hugexecd --help'.\n", stderr);
		return PARSED_WRONG;
	}
	return PARSED_RUN;
}

static int listen_on_inherited(struct server *server)
{
	int count = sd_listen_fds(1);
	server->listener = SD_LISTEN_FDS_START;
	if (count != 1 || sd_is_socket_unix(server->listener, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
		fputs("hugexecd: not started with a listening SOCK_SEQPACKET socket: start hugexecd.socket instead\n",
		      stderr);
		return -1;
	}
	int flags = fcntl(server->listener, F_GETFL);
	return flags < 0 ? -1 : fcntl(server->listener, F_SETFL, flags | O_NONBLOCK);
}

static int serve(struct server *server)
{
	sigset_t handled;
	sigemptyset(&handled);
	sigaddset(&handled, SIGCHLD);
	sigaddset(&handled, SIGTERM);
	sigaddset(&handled, SIGINT);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	int r = sd_event_new(&server->event);
	if (r >= 0)
		r = sd_event_add_signal(server->event, NULL, SIGTERM, on_stop, server);
	if (r >= 0)
		r = sd_event_add_signal(server->event, NULL, SIGINT, on_stop, server);
	if (r >= 0)
		r = sd_event_add_io(server->event, &server->knock, server->listener, EPOLLIN, on_knock, server);
	if (r >= 0 && server->idle_s > 0)
		r = sd_event_add_time_relative(server->event, &server->idle, CLOCK_MONOTONIC,
		                               (uint64_t)server->idle_s * 1000000U, 0, on_idle, server);
	if (r >= 0) {
		sd_notify(0, "READY=1");
		r = sd_event_loop(server->event);
	}
	if (r < 0)
		fprintf(stderr, "hugexecd: %s\n", strerror(-r));
	sd_event_source_unref(server->knock);
	sd_event_source_unref(server->idle);
	sd_event_unref(server->event);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct server server = {.seat_count = 256, .seats_per_user = 64, .idle_s = 30};
	switch (parse_options(argc, argv, &server)) {
	case PARSED_DONE:
		if (fflush(stdout) == 0)
			return EXIT_SUCCESS;
		perror("hugexecd: standard output");
		return EXIT_FAILURE;
	case PARSED_WRONG: return EXIT_USAGE;
	default: break;
	}
	if (listen_on_inherited(&server) < 0)
		return EXIT_FAILURE;
	server.seats = calloc(server.seat_count, sizeof server.seats[0]);
	if (!server.seats)
		return EXIT_FAILURE;
	for (unsigned i = 0; i < server.seat_count; i++)
		server.seats[i].server = &server;
	int status = serve(&server);
	free(server.seats);
	return status;
}
