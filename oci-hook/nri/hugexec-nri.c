/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-nri - a plugin of the container engine (NRI): of each container that is created it is asked for changes, and
 * adds hugexec's hook if the policy may want the container.
 *
 * The engine waits for the answer, so nothing is done here that could take long: the policy is read (anew each time,
 * so that a change holds at once) and asked, and that is all. While there is no engine, or it does not want us, we try
 * again, more and more seldom. Containers that are created meanwhile start without hugexec.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/kill_switch.h"
#include "base/retry.h"
#include "base/say.h"
#include "base/usage.h"
#include "base/utf8.h"
#include "base/version.h"
#include "config.h"
#include "hook_path.h"
#include "plugin.h"
#include "ready_file.h"

#define SOCKET "/run/nri/nri.sock"

#define PAUSE_FIRST_MS 100
#define PAUSE_LAST_MS  2000
#define SEND_MS        2000  /* as long as an engine waits for an answer */
#define REGISTER_MS    30000 /* for the engine to say that we are */

static const char help[] = "Usage: hugexec-nri [OPTIONS]\n"
                           "Be a plugin of containerd or CRI-O (NRI) that adds hugexec's hook to the\n"
                           "containers that the policy may want. Ends on SIGTERM; while there is no engine\n"
                           "it waits for one.\n"
                           "\n"
                           "  --socket=FILE      the engine's socket (" SOCKET ")\n"
                           "  --ready-file=FILE  have FILE while an engine has the plugin (none)\n"
                           "  -h, --help         this text\n"
                           "  -V, --version      the version, its commit, and what was built in\n"
                           "\n"
                           "See also hugexec-oci-hook(8), hugexec-policy(5).\n";

enum { EXIT_USAGE = 2 };

/* What was said last: it is not said again, however often we try. */
static char last_said[ERROR_TEXT_BYTES];

static void tell(const char *text)
{
	char shown[ERROR_TEXT_BYTES];
	text_printable(text, shown, sizeof shown);
	if (strcmp(shown, last_said) == 0)
		return;
	snprintf(last_said, sizeof last_said, "%s", shown);
	say_line(STDERR_FILENO, "hugexec-nri: %s\n", shown);
}

static void tell_error(const struct error *err)
{
	char text[ERROR_TEXT_BYTES];
	tell(error_text(err, text, sizeof text));
}

static struct policy *load_policy(void *context, const char **hook)
{
	(void)context;
	static char path[PATH_MAX];
	struct error err = {0};
	struct policy *policy = NULL;
	const struct policy_sources sources = {.require_root_owned = geteuid() == 0, .leave_out = true};
	if (is_switched_off())
		return NULL;
	*hook = hook_path(path, sizeof path);
	/* A hook that is not there would fail the container. */
	if (access(path, X_OK) < 0)
		error_set_errno(&err, errno, REASON_HOOK, "%s", path);
	else if (policy_load(&sources, &policy, NULL, &err) == 0)
		return policy;
	tell_error(&err);
	return NULL;
}

static int send_all(void *context, const void *data, size_t bytes)
{
	const int *fd = context;
	int64_t until_ms = now_ms() + SEND_MS;
	for (size_t sent = 0; sent < bytes;) {
		ssize_t got = send(*fd, (const char *)data + sent, bytes - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (got > 0) {
			sent += (size_t)got;
			continue;
		}
		struct pollfd ready = {.fd = *fd, .events = POLLOUT};
		int64_t left_ms = until_ms - now_ms();
		if ((errno != EAGAIN && errno != EINTR) || left_ms <= 0)
			return -1;
		poll(&ready, 1, (int)left_ms);
	}
	return 0;
}

/* Returns a socket; -1 with ERR, word "nri". */
static int connect_to(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return error_set_errno(err, errno, REASON_NRI, "no engine at %s", path);
	return steal_fd(&fd);
}

/* The engine has configured us. */
static void begin_service(const struct plugin *plugin, struct ready_file *ready_file)
{
	struct error err = {0};
	char text[ERROR_TEXT_BYTES];
	snprintf(text, sizeof text, "registered with %s", plugin->engine);
	tell(text);
	if (ready_file_make(ready_file, &err) < 0)
		tell_error(&err);
}

/* Serve the engine at FD until it ends the connection or SIGNALS has one. Returns whether it had configured us. */
static bool serve(int fd, int signals, struct ready_file *ready_file, struct error *err)
{
	static uint8_t buf[64 * 1024];
	struct plugin plugin = {.load = load_policy, .send = send_all, .context = &fd};
	struct pollfd ready[] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
	bool is_told = false;
	if (plugin_register(&plugin) < 0)
		error_set(err, REASON_NRI, "the engine takes nothing in");
	while (!error_is_set(err)) {
		int result = retry(poll(ready, 2, plugin.is_registered ? -1 : REGISTER_MS));
		if (ready[1].revents)
			break;
		ssize_t got = result > 0 ? recv(fd, buf, sizeof buf, MSG_DONTWAIT) : 0;
		if (result <= 0)
			error_set(err, REASON_NRI, "the engine did not answer");
		else if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			error_set(err, REASON_NRI, "the engine has closed the connection");
		else if (got > 0 && plugin_take(&plugin, buf, (size_t)got, err) < 0 && !error_is_set(err))
			error_set(err, REASON_NRI, "the engine takes no answer");
		if (plugin.is_configured && !is_told)
			begin_service(&plugin, ready_file);
		is_told = plugin.is_configured;
	}
	ready_file_remove(ready_file);
	plugin_free(&plugin);
	return plugin.is_configured;
}

/* Returns when SIGNALS has one. */
static void run(const char *path, struct ready_file *ready_file, int signals)
{
	int pause_ms = PAUSE_FIRST_MS;
	struct pollfd ended = {.fd = signals, .events = POLLIN};
	do {
		struct error err = {0};
		cleanup_close int fd = connect_to(path, &err);
		if (fd >= 0 && serve(fd, signals, ready_file, &err))
			pause_ms = PAUSE_FIRST_MS;
		if (error_is_set(&err))
			tell_error(&err);
		if (retry(poll(&ended, 1, pause_ms)) != 0)
			return;
		pause_ms = 2 * pause_ms < PAUSE_LAST_MS ? 2 * pause_ms : PAUSE_LAST_MS;
	} while (true);
}

static int wrong_usage(const char *message)
{
	say_line(STDERR_FILENO, "hugexec-nri: %s\nTry 'hugexec-nri --help'.\n", message);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, 's'},
	                                        {"ready-file", required_argument, NULL, 'r'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {"version", no_argument, NULL, 'V'},
	                                        {0}};
	const char *path = SOCKET;
	struct ready_file ready_file = {0};
	sigset_t ends;
	char message[USAGE_BYTES];
	for (int option; (option = usage_option(argc, argv, "hV", options, message)) != -1;) {
		switch (option) {
		case 's': path = optarg; break;
		case 'r': ready_file.path = optarg; break;
		case 'h': return fputs(help, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		case 'V': return version_print("hugexec-nri") >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
		default: return wrong_usage(message);
		}
	}
	if (argc > optind)
		return wrong_usage("it takes options only");
	if (strlen(path) >= sizeof((struct sockaddr_un){0}).sun_path)
		return wrong_usage("--socket=FILE: the name is too long for a socket");
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	cleanup_close int signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0) {
		say_line(STDERR_FILENO, "hugexec-nri: no descriptor for signals\n");
		return EXIT_FAILURE;
	}
	run(path, &ready_file, signals);
	return EXIT_SUCCESS;
}
