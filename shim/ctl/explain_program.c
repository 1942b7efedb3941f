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
#include "base/utf8.h"
#include "ctl/explain.h"
#include "host/host.h"
#include "launch/prescreen.h"
#include "tracer/exe_inspect.h"
#include "tracer/match_input.h"

#define READ_TIMEOUT_MS 30000 /* for a disk that hangs; nobody is held meanwhile */
#define HEAD_BYTES      256   /* BINPRM_BUF_SIZE: the kernel looks no further for an interpreter line */

/* The first two words behind "#!" of the script at PATH (the second may be ""); false where it names no interpreter. */
static bool read_interpreter(const char *path, char interpreter[HEAD_BYTES], char argument[HEAD_BYTES])
{
	char head[HEAD_BYTES + 1] = "";
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	interpreter[0] = argument[0] = '\0';
	if (fd < 0 || pread(fd, head, HEAD_BYTES, 0) < 3 || strncmp(head, "#!", 2) != 0)
		return false;
	head[strcspn(head, "\n")] = '\0';
	sscanf(head + 2, "%255s %255s", interpreter, argument);
	return interpreter[0] != '\0';
}

/* "#!/usr/bin/env python3": env(1) executes what it finds on the PATH, and hugexec follows it there. */
static bool names_program_of_env(const char *interpreter, const char *argument)
{
	const char *slash = strrchr(interpreter, '/');
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

/* Put the program that runs the script at PATH into PROGRAM, and what its interpreter line calls it into NAME. */
static void inspect_interpreter(const char *path, char name[HEAD_BYTES + 2], struct program *program)
{
	char interpreter[HEAD_BYTES], argument[HEAD_BYTES];
	/* Without a first line that names one, execvp(3) and shells take it for a shell script. */
	if (!read_interpreter(path, interpreter, argument))
		snprintf(interpreter, sizeof interpreter, "/bin/sh");
	if (names_program_of_env(interpreter, argument))
		snprintf(name, HEAD_BYTES + 2, "%s", argument);
	else /* the kernel does not search the PATH */
		snprintf(name, HEAD_BYTES + 2, "%s%s", strchr(interpreter, '/') ? "" : "./", interpreter);
	program_inspect(name, program);
}

/* Follow interpreter lines from COMMAND to the ELF file that will run; EXPLAINED, or with a message why there is none.
 */
static enum explained find_program(const char *command, struct explanation *out)
{
	char name[HEAD_BYTES + 2];
	program_inspect(command, &out->program);
	if (out->program.kind == PROGRAM_NOT_FOUND)
		return complain(command, NULL, out->program.errnum);
	out->command = out->program;
	while (out->program.kind == PROGRAM_SCRIPT && out->script_count < EXPLAIN_SCRIPTS_MAX) {
		bool privileged = out->program.privileged;
		char *script = out->scripts[out->script_count++];
		snprintf(script, PATH_MAX, "%s", out->program.path);
		inspect_interpreter(script, name, &out->program);
		if (out->program.kind == PROGRAM_NOT_FOUND)
			return complain(script, name, out->program.errnum);
		out->program.privileged |= privileged;
	}
	return out->program.kind == PROGRAM_SCRIPT ? complain(command, name, ELOOP) : EXPLAINED;
}

static void read_elf(struct explanation *out)
{
	struct reader reader;
	cleanup_close int fd = open(out->program.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		error_set_errno(&out->elf_error, errno, "elf-reader", "%s", out->program.path);
	else if (elf_reader_start(&reader, fd, &out->elf_error) == 0 &&
	         elf_reader_finish(&reader, READ_TIMEOUT_MS, &out->elf, &out->elf_error) == 0)
		elf_build_id_hex(&out->elf, out->build_id);
}

static int decide(const char *policy_file, const char *backing, struct explanation *out, struct policy **policy)
{
	struct error err = {0};
	struct policy_sources sources = {.file = policy_file, .require_root_owned = geteuid() == 0};
	if (policy_load(&sources, policy, NULL, &err) < 0) {
		char text[sizeof err];
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, error_text(&err, text, sizeof text));
		return -1;
	}
	cleanup_free char *unit = host_unit_of(getpid());
	cleanup_free char *cgroup = host_cgroup_of(getpid());
	struct match_input facts = {
	    .via = VIA_SHIM,
	    .exe = out->program.path,
	    .build_id = out->build_id,
	    .uid = geteuid(),
	    .unit = unit,
	    .cgroup = cgroup,
	};
	snprintf(out->unit, sizeof out->unit, "%s", unit ? unit : "");
	snprintf(out->cgroup, sizeof out->cgroup, "%s", cgroup ? cgroup : "");
	facts_ask_policy(*policy, &facts, INT64_MAX, &out->decision);
	/* What hugexec knows when it decides whether it traces the command at all. */
	struct decision early;
	facts.exe = out->command.path;
	facts.build_id = NULL;
	facts_ask_policy(*policy, &facts, INT64_MAX, &early);
	if (!command_is_settled(*policy, &out->command, &early, &out->settled))
		out->follow = command_follow(&out->command, &early);
	struct program_names names = {.exe = out->program.path};
	out->is_wrapper = out->follow != FOLLOW_NONE && settings_names_wrapper(&out->decision.settings, &names);
	if (backing)
		settings_override_backing(&out->decision.settings, backing, NULL);
	return 0;
}

enum explained explain_program(const char *command, const char *policy_file, const char *backing, bool json)
{
	cleanup_free struct explanation *explanation = calloc(1, sizeof *explanation);
	struct policy *policy = NULL;
	if (!explanation) {
		perror(program_invocation_short_name);
		return EXPLAIN_NOT_EXECUTABLE;
	}
	enum explained found = find_program(command, explanation);
	if (found != EXPLAINED)
		return found;
	read_elf(explanation);
	if (decide(policy_file, backing, explanation, &policy) < 0)
		return EXPLAIN_NO_POLICY;
	explain_plan(explanation);
	if (explanation->decision.settings.libraries && explanation->elf.has_interp &&
	    explanation->program.kind != PROGRAM_FOREIGN)
		explain_libraries(explanation->program.path, &explanation->decision.settings, &explanation->libraries);
	if (json)
		explain_print_json(explanation);
	else
		explain_print(explanation);
	explained_libraries_free(&explanation->libraries);
	policy_free(policy);
	return EXPLAINED;
}
