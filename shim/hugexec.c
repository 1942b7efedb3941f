/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec - start a program with its machine code on huge pages, and be gone.
 *
 *   argv -> policy -> is there anything to do? -> start the tracer -> execute COMMAND
 *
 * The tracer does the rest (launch/spawn_tracer.h describes both processes): stop at exec, image, plan,
 * remap, report. Every failure on the way has one answer: say why if somebody asked to be told, and execute COMMAND.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/kill_switch.h"
#include "base/say.h"
#include "base/size.h"
#include "ctl/explain.h"
#include "helper/get_tracer.h"
#include "host/host.h"
#include "launch/options.h"
#include "launch/own_stack.h"
#include "launch/plain_heap.h"
#include "launch/prescreen.h"
#include "launch/spawn_tracer.h"
#include "policy/policy.h"
#include "report/deliver.h"
#include "report/report.h"
#include "tracer/exe_inspect.h"
#include "tracer/match_input.h"

/* For the name service, when rules hang on names that are not in /etc/passwd. */
#define NAMES_MAX_US 1000000

enum { EXIT_FAILED = 125, EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };

/* Output of ours that could not be written is a failure, however well the rest went. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	say_line(STDERR_FILENO, "hugexec: standard output: %s\n", strerror(errno));
	return EXIT_FAILED;
}

/* Execute COMMAND in this process, as env(1) does. Returns only if that fails: the exit status for it. */
static int execute(const struct options *options)
{
	const char *file = options->command[0];
	if (options->argv0)
		options->command[0] = (char *)options->argv0;
	execvp(file, options->command);
	int saved_errno = errno;
	if (options->report.verbosity != VERBOSITY_QUIET)
		say_line(STDERR_FILENO, "hugexec: %s: %s\n", file, strerror(saved_errno));
	return saved_errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

/* However long has been waited already, what came of it is told. */
#define TELL_MIN_MS 100

static int time_to_tell_ms(int64_t until_us)
{
	int64_t left_ms = (until_us - now_us()) / 1000;
	return left_ms > DELIVER_MS ? DELIVER_MS : left_ms > TELL_MIN_MS ? (int)left_ms : TELL_MIN_MS;
}

/*
 * Report that nothing was done, for REASON, until UNTIL_US if files take so long. TEXT_BYTES: what EXE has; 0: not
 * known.
 */
static void report_untraced(const struct options *options, const char *exe, uint64_t text_bytes,
                            const struct decision *decision, enum outcome outcome, const struct error *reason,
                            bool fails_launch, int64_t until_us)
{
	struct report report = {
	    .pid = getpid(),
	    .via = VIA_SHIM,
	    .outcome = outcome,
	    .reason = *reason,
	    .backing = BACKING_NONE,
	    .text_bytes = text_bytes,
	};
	snprintf(report.exe, sizeof report.exe, "%s", exe);
	if (decision)
		policy_rule_label(decision, report.rule, sizeof report.rule);
	deliver_report(&options->report, &report, 0, fails_launch, time_to_tell_ms(until_us));
}

/*
 * Execute PROGRAM as execvp(3) does once it has found it: a script without an interpreter is the shell's. Returns only
 * if that fails, with errno.
 */
static void execute_found(const struct options *options, struct program *program)
{
	size_t count = 0;
	while (options->command[count])
		count++;
	char **words = calloc(count + 2, sizeof words[0]);
	if (!words)
		return;
	memcpy(words + 1, options->command, count * sizeof words[0]);
	if (options->argv0)
		words[1] = (char *)options->argv0;
	execve(program->found, words + 1, environ);
	if (errno == ENOEXEC && program->kind == PROGRAM_SCRIPT) {
		words[0] = (char *)"/bin/sh";
		words[1] = program->found;
		execve(words[0], words, environ);
	}
	int saved_errno = errno;
	free(words);
	errno = saved_errno;
}

/*
 * Execute COMMAND with a tracer at it: PROGRAM, which was looked at, and nothing else. What execvp(3) may find in its
 * place is not known to us, so it runs without. Returns only if that fails: the exit status for it.
 */
static int execute_traced(const struct options *options, struct launch *launch, struct program *program)
{
	struct error err = {0};
	execute_found(options, program);
	int saved_errno = errno;
	launch_stop_tracer(launch);
	if (program->kind == PROGRAM_FOREIGN)
		error_set(&err, REASON_NOT_NATIVE, "not a program for this processor's 64-bit mode");
	else if (!strchr(options->command[0], '/'))
		error_set_errno(&err, saved_errno, REASON_EXEC_FAILED, "%s, the first of its name on the PATH",
		                program->found);
	else if (saved_errno == EPERM || saved_errno == EACCES) /* host/lsm.h has a reason that goes with the tracer */
		error_set_errno(&err, saved_errno, REASON_EXEC_FAILED, "%s, while traced", program->found);
	if (error_is_set(&err))
		report_untraced(options, program->path, 0, NULL, OUTCOME_SKIPPED, &err, false, launch->hold_until_us);
	return execute(options);
}

static int run_under(const struct policy *policy, const struct options *options)
{
	int64_t began_us = now_us();
	struct error err = {0};
	struct program program;
	program_inspect(options->command[0], &program);
	if (program.kind == PROGRAM_NOT_FOUND)
		return execute(options);
	unsigned needs = policy_needs(policy);
	cleanup_free char *unit = needs & INPUT_UNIT ? host_unit_of(getpid()) : NULL;
	cleanup_free char *cgroup = needs & INPUT_CGROUP ? host_cgroup_of(getpid()) : NULL;
	struct match_input input = {.via = VIA_SHIM,
	                            .exe = program.path,
	                            .called = program_called(&program),
	                            .uid = geteuid(),
	                            .unit = unit,
	                            .cgroup = cgroup};
	struct decision decision;
	match_input_ask_policy(policy, &input, began_us + NAMES_MAX_US, &decision);
	settings_override(&decision.settings, &options->overrides, NULL);

	int64_t until_us = began_us + (int64_t)settings_hold_ms(&decision.settings, 0) * 1000;
	if (command_is_settled(policy, &program, &decision, &err)) {
		if (err.code == REASON_NO_RULE)
			match_input_blame_user(&err);
		/* A rule that hangs on the build id is not known to match. */
		const struct decision *told = decision.action == ACTION_UNDECIDED ? NULL : &decision;
		uint64_t looked_at_bytes = err.code == REASON_TEXT_SMALL ? program.text_bytes : 0;
		report_untraced(options, program.path, looked_at_bytes, told, OUTCOME_SKIPPED, &err, false, until_us);
		return execute(options);
	}

	struct launch launch = {
	    .job = {.door = &doors[DOOR_COMMAND],
	            .policy = policy,
	            .overrides = options->overrides,
	            .report = &options->report,
	            .follows = command_follow(&program, &decision) != FOLLOW_NONE},
	    .libraries = decision.settings.libraries || decision.settings.coverage == COVERAGE_FULL,
	    .is_interpreted = command_is_interpreted(&program),
	    .began_us = began_us,
	    .hold_until_us = until_us,
	};
	if (get_tracer(&launch, &err) < 0) {
		bool skips = get_tracer_is_skipped(&err);
		bool fails = !skips && decision.action == ACTION_REMAP && decision.settings.on_error == ON_ERROR_FAIL;
		report_untraced(options, program.path, 0, &decision, skips ? OUTCOME_SKIPPED : OUTCOME_FAILED, &err,
		                fails, launch.hold_until_us);
		return fails ? EXIT_FAILED : execute(options);
	}
	return execute_traced(options, &launch, &program);
}

static int run(void *context)
{
	const struct options *options = context;
	struct error err = {0};
	struct policy *policy = NULL;
	if (options->dry_run) {
		static const int statuses[] = {
		    [EXPLAINED] = EXIT_SUCCESS,
		    [EXPLAIN_NOT_FOUND] = EXIT_NOT_FOUND,
		    [EXPLAIN_NOT_EXECUTABLE] = EXIT_CANNOT_EXECUTE,
		    [EXPLAIN_NO_POLICY] = EXIT_FAILED,
		};
		const struct explain_request request = {.command = options->command[0],
		                                        .policy_file = options->policy_file,
		                                        .overrides = options->overrides};
		return finish(statuses[explain_program(&request)]);
	}
	enum on_error on_error = ON_ERROR_CONTINUE;
	struct policy_sources sources = {
	    .file = options->policy_file, .require_root_owned = geteuid() == 0, .leave_out = true};
	if (policy_load(&sources, &policy, &on_error, &err) < 0) {
		bool fails = on_error == ON_ERROR_FAIL;
		report_untraced(options, options->command[0], 0, NULL, OUTCOME_FAILED, &err, fails, INT64_MAX);
		return fails ? EXIT_FAILED : execute(options);
	}
	int status = run_under(policy, options);
	policy_free(policy);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	plain_heap_begin(argv);
	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_DONE: return finish(EXIT_SUCCESS);
	case OPTIONS_WRONG: return EXIT_FAILED;
	default: break;
	}
	if (!options.dry_run && is_switched_off())
		return execute(&options);
	return own_stack_call(run, &options);
}
