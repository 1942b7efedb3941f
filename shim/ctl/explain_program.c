/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the name of a program to its explanation: what hugexecctl explain and hugexec --dry-run do.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/shebang.h"
#include "base/utf8.h"
#include "ctl/explain.h"
#include "helper/protocol.h"
#include "host/host.h"
#include "launch/prescreen.h"
#include "tracer/exe_inspect.h"
#include "tracer/match_input.h"

#define READ_TIMEOUT_MS 30000 /* for a disk that hangs; nobody is held meanwhile */

/* What the script at PATH says of its interpreter; false if it names none. */
static bool read_interpreter(const char *path, struct shebang *out)
{
	char head[SHEBANG_BYTES + 1] = "";
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd >= 0 && pread(fd, head, SHEBANG_BYTES, 0) > 0 && shebang_parse(head, out);
}

/* "#!/usr/bin/env python3": env(1) executes what it finds on the PATH, and hugexec follows it there. */
static bool names_program_of_env(const struct shebang *line)
{
	const char *slash = strrchr(line->interpreter, '/'), *argument = line->argument;
	return slash && strcmp(slash, "/env") == 0 && *argument && *argument != '-' && !strchr(argument, '=');
}

/* COMMAND cannot be executed, which fails with ERRNUM as its execution would; INTERPRETER: why, NULL: itself. */
static enum explained complain(const char *command, const char *interpreter, int errnum)
{
	char shown[PATH_MAX], shown_interpreter[PATH_MAX];
	fprintf(stderr, "%s: %s: %s%s%s\n", program_invocation_short_name, text_printable(command, shown, sizeof shown),
	        interpreter ? text_printable(interpreter, shown_interpreter, sizeof shown_interpreter) : "",
	        interpreter ? ", its interpreter: " : "", strerror(errnum));
	return errnum == ENOENT ? EXPLAIN_NOT_FOUND : EXPLAIN_NOT_EXECUTABLE;
}

/* What is asked about, and of whom. */
struct asking {
	const struct policy *policy;
	struct match_input input; /* but for the program's */
};

/*
 * Whether ENV, the program of the script PATH's first line, is followed to what it executes; if it is not, it is
 * what runs.
 */
static bool follows_env(const struct asking *asking, const struct program *env, const char *path)
{
	struct match_input input = asking->input;
	struct decision decision;
	input.exe = env->path;
	match_input_ask_policy(asking->policy, &input, INT64_MAX, &decision);
	struct program_names names = {.exe = env->path, .called = path, .is_script = true};
	bool is_rules_skip =
	    decision.rule_matched && (decision.action == ACTION_SKIP || decision.action == ACTION_NOT_UNDERSTOOD);
	return !is_rules_skip && settings_follow(&decision.settings, &names) != FOLLOW_NONE;
}

/* Put the program that runs the script at PATH into OUT, and what its interpreter line calls it into NAME. */
static void inspect_interpreter(const struct asking *asking, const char *path, char name[SHEBANG_BYTES + 2],
                                struct explanation *out)
{
	struct shebang line;
	/* Without a first line that names one, execvp(3) and shells take it for a shell script. */
	if (!read_interpreter(path, &line))
		line = (struct shebang){.interpreter = "/bin/sh"};
	/* The kernel does not search the PATH. */
	snprintf(name, SHEBANG_BYTES + 2, "%s%s", strchr(line.interpreter, '/') ? "" : "./", line.interpreter);
	program_inspect(name, &out->program);
	if (!names_program_of_env(&line) || !follows_env(asking, &out->program, path))
		return;
	snprintf(name, SHEBANG_BYTES + 2, "%s", line.argument);
	program_inspect(name, &out->program);
	out->goes_by_env = true;
}

/* Follow interpreter lines from COMMAND to the ELF file that will run; EXPLAINED, or with a message why there is none.
 */
static enum explained find_program(const struct asking *asking, const char *command, struct explanation *out)
{
	char name[SHEBANG_BYTES + 2];
	program_inspect(command, &out->program);
	if (out->program.kind == PROGRAM_NOT_FOUND)
		return complain(command, NULL, out->program.errnum);
	out->command = out->program;
	while (out->program.kind == PROGRAM_SCRIPT && out->script_count < EXPLAIN_SCRIPTS_MAX) {
		bool privileged = out->program.privileged;
		char *script = out->scripts[out->script_count++];
		snprintf(script, PATH_MAX, "%s", out->program.path);
		inspect_interpreter(asking, script, name, out);
		if (out->program.kind == PROGRAM_NOT_FOUND)
			return complain(script, name, out->program.errnum);
		out->program.privileged |= privileged;
	}
	/* An interpreter is executed as the script's. */
	if (out->script_count == 0 || out->goes_by_env)
		out->called = program_called(&out->program);
	return out->program.kind == PROGRAM_SCRIPT ? complain(command, name, ELOOP) : EXPLAINED;
}

static void read_elf(struct explanation *out)
{
	struct reader reader;
	cleanup_close int fd = open(out->program.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		error_set_errno(&out->elf_error, errno, REASON_ELF_READER, "%s", out->program.path);
	else if (elf_reader_start(&reader, fd, &out->elf_error) == 0 &&
	         elf_reader_finish(&reader, READ_TIMEOUT_MS, &out->elf, &out->elf_error) == 0)
		elf_build_id_hex(&out->elf, out->build_id);
}

/* How what runs in the end would be seen: an interpreter by its script's name, else a program by its own. */
static struct program_names names_of(const struct explanation *explanation)
{
	bool is_script = explanation->script_count > 0 && !explanation->goes_by_env;
	return (struct program_names){.exe = explanation->program.path,
	                              .called = is_script ? explanation->command.found : explanation->program.found,
	                              .is_script = is_script};
}

/*
 * What decides before the program's text is looked at, as a launch would: hugexec itself before it executes the
 * command, or its tracer when it sees what runs.
 */
static void rule_out(const struct explanation *explanation, enum follow follow, struct error *reason)
{
	bool is_followed_wrapper = follow != FOLLOW_NONE;
	const struct decision *decision = &explanation->decision;
	bool skips = decision->action == ACTION_SKIP || decision->action == ACTION_NOT_UNDERSTOOD;
	const struct program *program = &explanation->program;
	const struct error *no_follow = &explanation->no_follow;
	if (error_is_set(no_follow) && (!command_is_interpreted(&explanation->command) || explanation->goes_by_env))
		*reason = *no_follow;
	else if (!program_may_be_traced(program))
		program_privileged_error(program, reason);
	else if (program->kind == PROGRAM_FOREIGN)
		error_set(reason, REASON_NOT_NATIVE, "not a program for this processor's 64-bit mode");
	else if (skips && (decision->rule_matched || !error_is_set(no_follow)))
		policy_skip_reason(decision, reason);
	else if (skips)
		*reason = *no_follow;
	else if (is_followed_wrapper && error_is_set(no_follow))
		*reason = *no_follow;
	else if (is_followed_wrapper)
		wrapper_reason(follow, reason);
}

static void decide(const struct asking *asking, const struct overrides *overrides, struct explanation *out)
{
	struct match_input input = asking->input;
	struct decision early;
	input.exe = out->program.path;
	input.called = out->called;
	input.build_id = out->build_id;
	match_input_ask_policy(asking->policy, &input, INT64_MAX, &out->decision);
	/* What hugexec knows when it decides whether it traces the command at all. */
	input.exe = out->command.path;
	input.called = program_called(&out->command);
	input.build_id = NULL;
	match_input_ask_policy(asking->policy, &input, INT64_MAX, &early);
	settings_override(&out->decision.settings, overrides, NULL);
	settings_override(&early.settings, overrides, NULL);
	if (command_is_settled(asking->policy, &out->command, &early, &out->ruled_out))
		return;
	struct program_names names = names_of(out);
	out->follow = command_follow(&out->command, &early);
	enum follow follow = settings_names_wrapper(&out->decision.settings, &names)
	                         ? settings_follow(&out->decision.settings, &names)
	                         : FOLLOW_NONE;
	if (out->follow != FOLLOW_NONE && !helper_is_there() && command_check_follow(&out->no_follow) < 0)
		out->follow = FOLLOW_NONE;
	rule_out(out, follow, &out->ruled_out);
}

static void fill_facts(const struct explain_request *request, struct explanation *out, struct asking *asking)
{
	cleanup_free char *own_unit = request->unit ? NULL : host_unit_of(getpid());
	cleanup_free char *own_cgroup = request->unit || request->cgroup ? NULL : host_cgroup_of(getpid());
	const char *unit = request->unit ? request->unit : own_unit;
	const char *cgroup = request->cgroup ? request->cgroup : own_cgroup;
	snprintf(out->unit, sizeof out->unit, "%s", unit ? unit : "");
	snprintf(out->cgroup, sizeof out->cgroup, "%s", cgroup ? cgroup : "");
	asking->input = (struct match_input){
	    .via = VIA_SHIM, .uid = geteuid(), .unit = unit ? out->unit : NULL, .cgroup = cgroup ? out->cgroup : NULL};
}

static enum explained explain(const struct explain_request *request, struct policy *policy,
                              struct explanation *explanation)
{
	struct asking asking = {.policy = policy};
	fill_facts(request, explanation, &asking);
	enum explained found = find_program(&asking, request->command, explanation);
	if (found != EXPLAINED)
		return found;
	read_elf(explanation);
	decide(&asking, &request->overrides, explanation);
	explain_plan(explanation);
	bool is_looked_at = !error_is_set(&explanation->ruled_out) || explanation->ruled_out.code == REASON_TEXT_SMALL;
	if (is_looked_at && explanation->elf.has_interp)
		explain_libraries(explanation->program.path, &explanation->decision.settings, &explanation->libraries);
	return EXPLAINED;
}

/* Find out what REQUEST asks, and TELL it. */
static enum explained explain_and_tell(const struct explain_request *request,
                                       void (*tell)(const struct explanation *explanation, void *context),
                                       void *context)
{
	struct error err = {0};
	struct policy *policy = NULL;
	struct policy_sources sources = {
	    .file = request->policy_file, .require_root_owned = geteuid() == 0, .leave_out = true};
	if (policy_load(&sources, &policy, NULL, &err) < 0) {
		char text[ERROR_TEXT_BYTES];
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, error_text(&err, text, sizeof text));
		return EXPLAIN_NO_POLICY;
	}
	enum explained result = EXPLAIN_NOT_EXECUTABLE;
	cleanup_free struct explanation *explanation = calloc(1, sizeof *explanation);
	if (explanation)
		result = explain(request, policy, explanation);
	else
		perror(program_invocation_short_name);
	if (result == EXPLAINED) {
		tell(explanation, context);
		explained_libraries_free(&explanation->libraries);
	}
	policy_free(policy);
	return result;
}

static void print(const struct explanation *explanation, void *context)
{
	const struct explain_request *request = context;
	if (request->json)
		explain_print_json(explanation);
	else
		explain_print(explanation);
}

enum explained explain_program(const struct explain_request *request)
{
	struct explain_request asked = *request;
	return explain_and_tell(request, print, &asked);
}

struct foretold {
	char *buf;
	size_t buf_bytes;
};

static void foretell(const struct explanation *explanation, void *context)
{
	const struct foretold *out = context;
	struct conclusion conclusion;
	char text[ERROR_TEXT_BYTES], how[ERROR_TEXT_BYTES + 64] = "";
	explain_conclude(explanation, &conclusion);
	error_text(&conclusion.reason, text, sizeof text);
	if (conclusion.remaps == VERDICT_WORKS)
		snprintf(how, sizeof how, "its text would come on huge pages");
	else if (conclusion.remaps == VERDICT_UNKNOWN)
		snprintf(how, sizeof how, "only a start would tell%s%s", *text ? ": " : "", text);
	else if (explanation->follow != FOLLOW_NONE)
		snprintf(how, sizeof how, "left alone itself, and followed to what it starts (%s)", text);
	else
		snprintf(how, sizeof how, "its text would stay on small pages: %s", text);
	snprintf(out->buf, out->buf_bytes, "%.200s: %s", explanation->program.path, how);
}

enum explained explain_foretell(const struct explain_request *request, char *buf, size_t buf_bytes)
{
	struct foretold out = {.buf = buf, .buf_bytes = buf_bytes};
	return explain_and_tell(request, foretell, &out);
}
