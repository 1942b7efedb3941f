/*
 * hugexec - start a program with its machine code on huge pages, and be gone.
 *
 *   argv -> policy -> is there anything to do? -> start the tracer -> execute COMMAND
 *
 * The tracer does the rest (launch/launch.h tells the tale of the two processes): stop at exec, image, plan, remap,
 * report. Every failure on the way has one answer: say why where somebody asked to be told, and execute COMMAND.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "base/size.h"
#include "ctl/explain.h"
#include "host/host.h"
#include "launch/launch.h"
#include "launch/options.h"
#include "launch/program.h"
#include "launch/sink.h"
#include "launch/stack.h"
#include "policy/policy.h"
#include "report.h"

/* Shells, interpreters and tools like env(1) have less text than this; node and databases have more. */
#define WRAPPER_TEXT_MAX_BYTES (8 * MIB)

enum { EXIT_FAILED = 125, EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };

/* Execute COMMAND in this process, as env(1) does. Returns only where that fails: the exit status for it. */
static int execute(const struct options *options, const struct launch *tracer)
{
	const char *file = options->command[0];
	if (options->argv0)
		options->command[0] = (char *)options->argv0;
	stack_give_back();
	execvp(file, options->command);
	int saved_errno = errno;
	if (tracer)
		launch_stop_tracer((struct launch *)tracer);
	if (options->verbosity != VERBOSITY_QUIET)
		fprintf(stderr, "hugexec: %s: %s\n", file, strerror(saved_errno));
	return saved_errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

/* Report that nothing was done, for REASON. */
static void report_untraced(const struct options *options, const char *exe, const struct decision *decision,
                            enum outcome outcome, const struct error *reason, bool fails_launch)
{
	struct report report = {
	    .pid = getpid(),
	    .via = VIA_SHIM,
	    .outcome = outcome,
	    .reason = *reason,
	    .backing = BACKING_NONE,
	};
	snprintf(report.exe, sizeof report.exe, "%s", exe);
	if (decision && decision->rule_name)
		snprintf(report.rule, sizeof report.rule, "%s", decision->rule_name);
	sink_report(options, &report, 0, fails_launch);
}

/*
 * Whether it is clear before COMMAND is executed that it is to be left alone; REASON says why. A script's rule is its
 * interpreter's, and a program that no rule matches may still execute one that a rule does, so those are followed,
 * unless their size says that they are no wrappers.
 */
static bool is_settled(const struct policy *policy, const struct program *program, const struct decision *decision,
                       struct error *reason)
{
	if (!policy_may_remap(policy, VIA_SHIM))
		return error_set(reason, "no-rule", "no rule is about programs started through hugexec") < 0;
	if (program->privileged && !program_may_trace_privileged())
		return program_privileged_error(program, reason) < 0;
	if (program->kind == PROGRAM_FOREIGN)
		return error_set(reason, "not-native", "not a program for this processor's 64-bit mode") < 0;
	if (program->kind != PROGRAM_ELF || decision->action != ACTION_SKIP)
		return false;
	if (decision->rule_matched)
		return error_set(reason, "rule-skip", "the rule says to leave it alone") < 0;
	if (decision->settings.follow == FOLLOW_NONE || program->text_bytes > WRAPPER_TEXT_MAX_BYTES)
		return error_set(reason, "no-rule", "no rule matches") < 0;
	return false;
}

/* Whether COMMAND itself is what the rule is about, and no wrapper: it has text enough for a huge page. */
static bool expects_remap(const struct program *program, const struct decision *decision)
{
	const struct settings *settings = &decision->settings;
	return program->kind == PROGRAM_ELF && decision->action != ACTION_SKIP && settings->follow != FOLLOW_FORK &&
	       program->text_bytes >= 2 * MIB && program->text_bytes >= settings->min_text_bytes;
}

static int begin(struct launch *launch, struct error *err)
{
	uint64_t room = stack_room();
	if (room < STACK_FOR_TRACER)
		return error_set(err, "stack-limit", "RLIMIT_STACK leaves %ju KiB, the tracer needs %ju",
		                 (uintmax_t)(room / KIB), (uintmax_t)(STACK_FOR_TRACER / KIB));
	return launch_begin(launch, err);
}

/*
 * Whether it is another hugexec that traces us, and so will see to COMMAND by its own policy: one script may use
 * hugexec where a unit does, too. Told by its name, which is a hint: if it is wrong COMMAND runs as it is.
 */
static bool is_followed(void)
{
	static const char key[] = "\nTracerPid:\t";
	char path[64];
	cleanup_free char *status = NULL;
	cleanup_free char *name = NULL;
	if (read_file_at(AT_FDCWD, "/proc/self/status", 65536, &status, NULL) < 0 || !strstr(status, key))
		return false;
	snprintf(path, sizeof path, "/proc/%ld/comm", strtol(strstr(status, key) + sizeof key - 1, NULL, 10));
	return read_file_at(AT_FDCWD, path, 64, &name, NULL) == 0 && strncmp(name, "hugexec", strlen("hugexec")) == 0;
}

static int run_under(const struct policy *policy, const struct options *options)
{
	struct error err = {0};
	struct program program;
	program_inspect(options->command[0], &program);
	if (program.kind == PROGRAM_NOT_FOUND)
		return execute(options, NULL);
	unsigned needs = policy_needs(policy);
	cleanup_free char *unit = needs & FACT_UNIT ? host_unit_of(getpid()) : NULL;
	cleanup_free char *cgroup = needs & FACT_CGROUP ? host_cgroup_of(getpid()) : NULL;
	struct facts facts = {.via = VIA_SHIM, .exe = program.path, .uid = geteuid(), .unit = unit, .cgroup = cgroup};
	struct decision decision;
	policy_decide(policy, &facts, &decision);

	if (is_settled(policy, &program, &decision, &err)) {
		report_untraced(options, program.path, &decision, OUTCOME_SKIPPED, &err, false);
		return execute(options, NULL);
	}

	struct launch launch = {
	    .policy = policy,
	    .options = options,
	    .via = VIA_SHIM,
	    .expects_remap = expects_remap(&program, &decision),
	};
	if (begin(&launch, &err) < 0) {
		if (is_followed()) {
			error_set(&err, "followed-already", "the hugexec that has started this one decides");
			report_untraced(options, program.path, &decision, OUTCOME_SKIPPED, &err, false);
			return execute(options, NULL);
		}
		bool fails = decision.action == ACTION_REMAP && decision.settings.on_error == ON_ERROR_FAIL;
		report_untraced(options, program.path, &decision, OUTCOME_FAILED, &err, fails);
		return fails ? EXIT_FAILED : execute(options, NULL);
	}
	return execute(options, &launch);
}

/* Where there is no room to read a policy. Nothing here, nor in main(), may take much of the stack. */
static int run_blindly(const struct options *options)
{
	static const char message[] = "hugexec: stack-limit: RLIMIT_STACK leaves no room to read a policy\n";
	if (options->verbosity == VERBOSITY_VERBOSE)
		(void)!write(STDERR_FILENO, message, sizeof message - 1);
	return execute(options, NULL);
}

__attribute__((noinline)) static int run(const struct options *options)
{
	struct error err = {0};
	struct policy *policy = NULL;
	if (options->dry_run) {
		static const int statuses[] = {EXIT_SUCCESS, EXIT_NOT_FOUND, EXIT_FAILED};
		return statuses[explain_program(options->command[0], options->policy_file, options->backing, false)];
	}
	enum on_error on_error = ON_ERROR_CONTINUE;
	struct policy_sources sources = {.file = options->policy_file, .require_root_owned = geteuid() == 0};
	if (policy_load(&sources, &policy, &on_error, &err) < 0) {
		bool fails = on_error == ON_ERROR_FAIL;
		report_untraced(options, options->command[0], NULL, OUTCOME_FAILED, &err, fails);
		return fails ? EXIT_FAILED : execute(options, NULL);
	}
	int status = run_under(policy, options);
	policy_free(policy);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	stack_make_room();
	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_DONE: return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILED;
	case OPTIONS_WRONG: return EXIT_FAILED;
	default: break;
	}
	const char *environment_switch = getenv("HUGEXEC");
	if (environment_switch && strcmp(environment_switch, "off") == 0 && !options.dry_run)
		return execute(&options, NULL);
	return stack_room() < STACK_FOR_POLICY && !options.dry_run ? run_blindly(&options) : run(&options);
}
