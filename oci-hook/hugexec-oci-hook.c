/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-oci-hook - a createRuntime (or prestart) hook: what the container will execute gets its text on huge pages.
 *
 * The runtime calls it while the container's init waits, in its namespaces already, for leave to execute the
 * container's program. The tale of the two processes of ours:
 *
 *   the hook    reads the state and the policy, and if a rule asks for annotations has a reader look for the
 * bundle's (bundle_ask.h). If no rule can want this container that is all. Else it starts the tracer, waits for its
 * word, and returns to the runtime, milliseconds after it was called, with status 0 whatever came of it ("on_error":
 * "fail" excepted). the tracer  is nobody's child and in a session of its own, holds none of the runtime's files, and
 * is attached to all threads of the container's init. It sleeps until one of them executes a program, perhaps hours
 *               later; then it does what the exec shim's tracer does (tracer/trace_loop.h), reports to the journal, and
 *               ends. If the container ends before, so does the tracer. If the tracer is killed, the container runs on
 *               as if there had been none, but for the moments in which it had borrowed the program's registers: then
 *               the kernel kills that.
 *
 * The tracer stays in the cgroup in which the runtime has called its hook, which is not the container's: in there it
 * would be killed, frozen and counted with it, and keep its cgroup from being removed. Memory is charged to the
 * container all the same, because the container's process itself allocates it (tracee.charges_itself).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/kill_switch.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "base/say.h"
#include "base/usage.h"
#include "base/utf8.h"
#include "base/version.h"
#include "bundle.h"
#include "bundle_ask.h"
#include "config.h"
#include "host/host.h"
#include "host/lsm.h"
#include "oci_state.h"
#include "policy/container_attrs.h"
#include "policy/policy.h"
#include "ptrace/seize_threads.h"
#include "report/container_state.h"
#include "report/deliver.h"
#include "told_container.h"
#include "tracer/trace_loop.h"

#define STATE_MS  2000 /* for the state to be there, all of it */
#define TRACER_MS 2000 /* for the tracer to say that it is attached */

_Static_assert(sizeof(struct error) <= PIPE_BUF, "the tracer's word is written at once");

static const char help[] = "Usage: hugexec-oci-hook [OPTIONS] [STAGE] < STATE\n"
                           "Have the program of a container get its machine code on huge pages, as the\n"
                           "policy says. An OCI runtime calls this as a createRuntime or prestart hook, and\n"
                           "as a poststop hook to forget the container; it passes the container's state on\n"
                           "standard input. STAGE is only for people who read the configuration.\n"
                           "\n"
                           "  --policy=FILE    read this policy instead of the host's\n"
                           "  --report=FILE    append a JSON line about what was done\n"
                           "  --namespace=NAME, --pod=NAME, --container=NAME, --image=NAME,\n"
                           "  --annotation=NAME=VALUE, --label=NAME=VALUE\n"
                           "                   what hugexec-nri(8) knows of the container\n"
                           "  -h, --help       this text\n"
                           "  -V, --version    the version, its commit, and what was built in\n"
                           "\n"
                           "Exit status: 0, whatever came of it; 1 if the policy says \"on_error\": \"fail\"\n"
                           "and the container cannot be traced; 2 wrong usage.\n"
                           "\n"
                           "See also hugexec-policy(5), hugexec-runtime(8), hugexecctl(1).\n";

enum { EXIT_FAILS = 1, EXIT_USAGE = 2 };

/* The one container that this process is about; what follows it is told nothing but a struct trace_job. */
static struct {
	const char *policy_file;
	struct report_target report;
	struct oci_state state;
	struct bundle_answer *config; /* what is told of config.json, whose annotations the state borrows */
	struct told_container told;   /* by the plugin that has added the hook */
	struct container_attrs attrs;
	struct policy *policy;
	enum on_error on_error;
	struct trace_job job;
} container;

/* All of standard input, within STATE_MS and OCI_STATE_MAX_BYTES, into BUF, which has room for one byte more. */
static int read_state(char *buf, size_t *bytes, struct error *err)
{
	int64_t deadline_ms = now_ms() + STATE_MS;
	*bytes = 0;
	for (;;) {
		int64_t left_ms = deadline_ms - now_ms();
		struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
		if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) == 0)
			return error_set(err, REASON_OCI_STATE, "standard input did not end within %d ms", STATE_MS);
		ssize_t got = read(STDIN_FILENO, buf + *bytes, OCI_STATE_MAX_BYTES + 1 - *bytes);
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return error_set_errno(err, errno, REASON_OCI_STATE, "standard input");
		if (got == 0)
			break;
		*bytes += got > 0 ? (size_t)got : 0;
		if (*bytes > OCI_STATE_MAX_BYTES)
			return error_set(err, REASON_OCI_STATE, "more than %d bytes", OCI_STATE_MAX_BYTES);
	}
	buf[*bytes] = '\0';
	return 0;
}

/* Tell why nothing will be done, where the runtime would show it and where people look later. Returns our status. */
static int give_up(const struct error *reason)
{
	char text[ERROR_TEXT_BYTES], shown[sizeof text];
	struct report report = {.pid = container.state.pid,
	                        .via = VIA_HOOK,
	                        .container = &container.attrs,
	                        .outcome = OUTCOME_FAILED,
	                        .reason = *reason,
	                        .backing = BACKING_NONE};
	error_text(reason, text, sizeof text);
	say_line(STDERR_FILENO, "hugexec-oci-hook: %s%s%s\n", container.state.id, container.state.id[0] ? ": " : "",
	         text_printable(text, shown, sizeof shown));
	deliver_report(&container.report, &report, 0, false, DELIVER_MS);
	return container.on_error == ON_ERROR_FAIL ? EXIT_FAILS : EXIT_SUCCESS;
}

/*
 * The annotations that the state lacks, if a rule asks for any: the runtime may have its configuration from
 * elsewhere (crun --config), and what lies in the bundle then is another container's, or nothing. What is wrong with
 * the bundle does not matter if the state has some annotations.
 */
static int read_bundle(struct oci_state *state, struct error *err)
{
	if (!(policy_needs(container.policy) & INPUT_CONTAINER))
		return 0;
	cleanup_free char *text = NULL;
	cleanup_free struct annotation *annotations = NULL;
	size_t bytes;
	cleanup_close int directory_fd = bundle_read(state->bundle, "config.json", &text, &bytes, NULL, err);
	if (directory_fd < 0)
		return -1;
	container.config = bundle_ask("config.json", text, bytes, NULL, err);
	if (!container.config)
		return -1;
	annotations = bundle_answer_annotations(container.config);
	if (!annotations)
		return error_set(err, REASON_BUNDLE, "out of memory");
	return oci_state_add_annotations(state, annotations, container.config->annotation_count, err);
}

/* Whether PIDFD's process, which is PID, can be a container's init that has not begun. */
static int check_init(const struct oci_state *state, struct error *err)
{
	if (state->status == OCI_RUNNING)
		return error_set(err, REASON_OCI_STATE, "the container runs already; use it as createRuntime hook");
	if (host_shares(state->pid, "ns/mnt"))
		return error_set(err, REASON_OCI_STATE, "process %d is in no container", (int)state->pid);
	return 0;
}

/* Nothing of the runtime's may stay with us but the words on our side of the pipe: its files, folder, signals. */
static int settle_in(int word_fd)
{
	sigset_t all;
	struct rlimit none = {0, 0};
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGCHLD, SIG_DFL);
	setsid();
	if (chdir("/") < 0)
		return -1;
	for (int fd = 0; fd < 3; fd++) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0 || (null != fd && dup3(null, fd, O_CLOEXEC) < 0))
			return -1;
	}
	if (word_fd != 3 && dup3(word_fd, 3, O_CLOEXEC) < 0)
		return -1;
	close_range(4, ~0U, 0);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NAME, "hugexec-tracer", 0, 0, 0);
	return 3;
}

/* Attach. The process was there when PIDFD was opened, and is now: so PID is still its own. */
static int attach(int pidfd, struct seized *seized, struct error *err)
{
	if (lsm_check_tracer(REASON_PTRACE_REFUSED, err) < 0 ||
	    seize_threads(container.state.pid, PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT, seized, err) < 0)
		return -1;
	if (pidfd_has_ended(pidfd))
		return error_set(err, REASON_TRACEE_GONE, "the container has ended");
	for (size_t i = 0; i < seized->count; i++)
		door_prepare(&doors[DOOR_HOOK], &seized->threads[i]);
	return 0;
}

_Noreturn static void run_tracer(int pidfd, int word_fd)
{
	struct error err = {0};
	struct seized seized = {0};
	struct pollfd hook = {.fd = word_fd};
	if (poll(&hook, 1, 0) > 0) /* its end of the pipe is closed: it waits no longer */
		_exit(0);
	int failed = attach(pidfd, &seized, &err);
	word_fd = settle_in(word_fd);
	if (word_fd < 0)
		_exit(1);
	if (!failed)
		err = (struct error){0};
	fault_point("hook-seized");
	bool is_told = write(word_fd, &err, sizeof err) == sizeof err; /* SIGPIPE is blocked */
	close(word_fd);
	if (failed || !is_told)
		_exit(0);
	struct trace_job *job = &container.job;
	*job = (struct trace_job){
	    .policy = container.policy,
	    .report = &container.report,
	    .follows = true,
	    .door = &doors[DOOR_HOOK],
	    .container = {container.state.id, &container.attrs},
	};
	follow(job, seized.threads, seized.count);
}

/* The tracer's word: an error that is not set if it is attached. */
static int wait_for_word(int fd, struct error *err)
{
	struct error word;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	if (retry(poll(&poll_fd, 1, TRACER_MS)) == 0)
		return error_set(err, REASON_PTRACE_REFUSED, "the tracer was not attached within %d ms", TRACER_MS);
	/* Also if poll has failed: a hook that ended now would have the container begin beside an attaching tracer.
	 */
	if (retry(read(fd, &word, sizeof word)) != sizeof word)
		return error_set(err, REASON_TRACER_KILLED, "the tracer has ended");
	if (!error_is_set(&word))
		return 0;
	*err = word;
	return -1;
}

/* The process between the hook and the tracer. */
_Noreturn static void run_between(int pidfd, int word_fd)
{
	struct error err = {0};
	pid_t tracer = fork();
	if (tracer == 0)
		run_tracer(pidfd, word_fd);
	if (tracer < 0) {
		error_set_errno(&err, errno, REASON_FORK, "no process for the tracer");
		(void)!write(word_fd, &err, sizeof err);
	}
	_exit(0);
}

/* By a process between, which ends at once, so that the runtime is not the tracer's parent. */
static int start_tracer(struct error *err)
{
	int words[2];
	cleanup_close int pidfd = pidfd_of(container.state.pid);
	if (pidfd < 0)
		return error_set_errno(err, errno, REASON_TRACEE_GONE, "process %d", (int)container.state.pid);
	if (check_init(&container.state, err) < 0)
		return -1;
	if (pipe2(words, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, REASON_FORK, "a pipe");
	pid_t between = fork();
	if (between == 0) {
		close(words[0]);
		run_between(pidfd, words[1]);
	}
	close(words[1]);
	int result = between < 0 ? error_set_errno(err, errno, REASON_FORK, "no process for the tracer") : 0;
	if (between > 0) {
		retry(waitpid(between, NULL, 0));
		result = wait_for_word(words[0], err);
	}
	close(words[0]);
	return result;
}

static int run_hook(void)
{
	struct error err = {0}, bundle = {0};
	struct oci_state *state = &container.state;
	static char text[OCI_STATE_MAX_BYTES + 1];
	size_t bytes;
	struct policy_sources sources = {
	    .file = container.policy_file, .require_root_owned = geteuid() == 0, .leave_out = true};
	int no_policy = policy_load(&sources, &container.policy, &container.on_error, &err);
	if (read_state(text, &bytes, no_policy ? NULL : &err) < 0 ||
	    oci_state_parse(text, bytes, state, no_policy ? NULL : &err) < 0)
		return give_up(&err);
	if (state->status == OCI_STOPPED) {
		record_sweep(RECORD_DIRECTORY);
		return EXIT_SUCCESS;
	}
	if (is_switched_off())
		return EXIT_SUCCESS;
	if (no_policy)
		return give_up(&err);
	if (!policy_may_remap(container.policy, VIA_HOOK))
		return EXIT_SUCCESS;
	bool has_annotations = state->annotation_count > 0;
	container.attrs = container.told.attrs;
	if (!container.told.is_told) {
		if (read_bundle(state, &bundle) < 0 && !has_annotations) {
			error_set(&err, bundle.code, "a rule asks for annotations, which the state does not have: %s",
			          bundle.detail);
			return give_up(&err);
		}
		if (container.config && container.config->has_told_hook)
			return EXIT_SUCCESS; /* that one knows more */
		container.attrs = container_attrs_of(state->annotations, state->annotation_count);
	}
	if (!policy_may_remap_container(container.policy, &container.attrs))
		return EXIT_SUCCESS;
	return start_tracer(&err) < 0 ? give_up(&err) : EXIT_SUCCESS;
}

static int wrong_usage(const char *message)
{
	say_line(STDERR_FILENO, "hugexec-oci-hook: %s\nTry 'hugexec-oci-hook --help'.\n", message);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"policy", required_argument, NULL, 'p'},
	                                        {"report", required_argument, NULL, 'r'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {"version", no_argument, NULL, 'V'},
	                                        TOLD_OPTIONS,
	                                        {0}};
	container.report.verbosity = VERBOSITY_QUIET;
	char message[USAGE_BYTES];
	for (int option; (option = usage_option(argc, argv, "hV", options, message)) != -1;) {
		switch (option) {
		case 'p': container.policy_file = optarg; break;
		case 'r': container.report.path = optarg; break;
		case 'h': return fputs(help, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILS;
		case 'V':
			return version_print("hugexec-oci-hook") >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS
			                                                                     : EXIT_FAILS;
		default:
			if (!told_container_add(&container.told, option, optarg))
				return wrong_usage(message);
		}
	}
	if (argc - optind > 1)
		return wrong_usage("more than one stage");
	if (container.policy_file && !container.policy_file[0])
		return wrong_usage("--policy=FILE: the name of the file is empty");
	if (container.report.path && strcmp(container.report.path, "-") == 0)
		return wrong_usage("--report takes a file: standard error is the runtime's");
	if (isatty(STDIN_FILENO))
		return wrong_usage("an OCI runtime calls this, with the container's state on standard input");
	return run_hook();
}
