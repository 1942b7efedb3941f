/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/kill_switch.h"
#include "base/pidfd.h"
#include "host/lsm.h"
#include "policy/policy.h"
#include "report/deliver.h"
#include "tracer/trace_loop.h"

#define REQUEST_MS 2000 /* for the request to be there */
#define EXEC_S     10   /* from the answer to the client's exec */
#define CHECK_S    10   /* for all before the answer: nobody is traced yet, so the kernel may end us */
#define CPU_S      120

#define CONNECTION_FD 3

/* Nothing of the server's may stay: its signals, its files, its patience. Returns the connection. */
static int settle_in(int connection)
{
	sigset_t all;
	struct rlimit none = {0, 0}, cpu = {CPU_S, CPU_S};
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (connection != CONNECTION_FD)
		dup3(connection, CONNECTION_FD, O_CLOEXEC);
	close_range(CONNECTION_FD + 1, ~0U, 0);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_CPU, &cpu);
	prctl(PR_SET_NAME, "hugexecd-worker", 0, 0, 0);
	return CONNECTION_FD;
}

/* Never waits: there is room for one answer in a socket that has carried none, or nobody is there to read it. */
static int answer(int connection, enum helper_verdict verdict, const struct error *reason)
{
	struct helper_answer message = {.magic = HELPER_MAGIC, .verdict = verdict};
	if (reason) {
		snprintf(message.word, sizeof message.word, "%s", reason_word(reason->code));
		snprintf(message.detail, sizeof message.detail, "%s", reason->detail);
	}
	return send(connection, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof message ? 0 : -1;
}

_Noreturn static void refuse(int connection, const struct error *reason)
{
	answer(connection, HELPER_REFUSED, reason);
	/* Not closed one by one: a file of the client's may make its closing last, but not for one who ends. */
	_exit(0);
}

static struct policy *load_policy(const struct worker_options *options, struct error *err)
{
	struct policy *policy = NULL;
	struct policy_sources sources = {
	    .file = options->policy_file, .require_root_owned = geteuid() == 0, .leave_out = true};
	if (policy_load(&sources, &policy, NULL, err) < 0)
		return NULL;
	if (policy_may_remap(policy, VIA_SHIM))
		return policy;
	error_set(err, REASON_NO_RULE, "no rule of the host's policy is about programs started through hugexec");
	policy_free(policy);
	return NULL;
}

/* The worker's one client; what serves it is told nothing but a struct trace_job. */
static struct {
	struct trace_job job;
	struct report_target target;
	struct delivery delivery;
	struct peer peer;
} client;

/* The client has executed its program: with its word what is done is done in the way that it asked for. */
static bool may_begin(void)
{
	if (!peer_has_said_the_word(&client.peer))
		return false;
	const struct peer *peer = &client.peer;
	client.delivery = (struct delivery){peer->report_fd, peer->stderr_fd, peer->sender.uid, peer->sender.gid};
	client.target.verbosity = peer->flags & HELPER_VERBOSE ? VERBOSITY_VERBOSE : VERBOSITY_NORMAL;
	return true;
}

/* Everything up to the answer, in which nothing may last: the kernel ends us after CHECK_S. */
static int prepare(const struct worker_options *options, int connection, struct tracee *tracee, struct error *err)
{
	struct peer *peer = &client.peer;
	alarm(CHECK_S);
	if (peer_receive(peer, connection, REQUEST_MS, err) < 0)
		return -1;
	fault_point("helper-received");
	if (is_switched_off())
		return error_set(err, REASON_SWITCHED_OFF, "hugexec is switched off on this host by %s",
		                 KILL_SWITCH_FILE);
	client.job.policy = load_policy(options, err);
	if (!client.job.policy || lsm_check_tracer(REASON_PTRACE_REFUSED, err) < 0 ||
	    tracee_seize(tracee, peer->sender.pid, PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT, err) < 0)
		return -1;
	/* Alive still, so the PID has been its own all the time. */
	if (pidfd_has_ended(peer->pidfd))
		return error_set(err, REASON_HELPER_IDENTITY, "process %d has ended", (int)peer->sender.pid);
	door_prepare(&doors[DOOR_HUGEXECD], tracee);
	alarm(0);
	return 0;
}

_Noreturn void worker_main(const struct worker_options *options, int connection, bool too_many)
{
	struct error err = {0};
	struct tracee tracee = {.pid = 0};
	connection = settle_in(connection);
	fault_point("helper-accepted");
	if (too_many) {
		error_set(&err, REASON_HELPER_BUSY, "this user has as many clients as one user may have");
		refuse(connection, &err);
	}
	if (prepare(options, connection, &tracee, &err) < 0)
		refuse(connection, &err);
	fault_point("helper-seized");
	if (answer(connection, tracee.suspends_seccomp ? HELPER_SEIZED : HELPER_SEIZED_FILTERED, NULL) < 0)
		_exit(0);
	fault_point("helper-answered");
	client.target.delivery = &client.delivery;
	client.job.overrides = helper_request_overrides(&client.peer.request);
	client.job.report = &client.target;
	client.job.door = &doors[DOOR_HUGEXECD];
	client.job.follows = true;
	client.job.exec_timeout_s = EXEC_S;
	client.job.may_begin = may_begin;
	follow(&client.job, &tracee, 1);
}
