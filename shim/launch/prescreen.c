/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/prescreen.h"

#include <unistd.h>

#include "base/size.h"
#include "host/lsm.h"
#include "launch/reaper.h"

bool command_is_interpreted(const struct program *program)
{
	return program->kind == PROGRAM_SCRIPT || program->kind == PROGRAM_FOREIGN;
}

enum follow command_follow(const struct program *program, const struct decision *decision)
{
	struct program_names names = {.exe = program->path,
	                              .called = program->found,
	                              .is_script = command_is_interpreted(program),
	                              .is_init = getpid() == 1};
	return settings_follow(&decision->settings, &names);
}

int command_check_follow(struct error *err)
{
	if (!program_tracing_is_harmless())
		return error_set(err, REASON_UNPRIVILEGED_WRAPPER,
		                 "without CAP_SYS_PTRACE, a tracer would take the privileges of a set-uid program that "
		                 "it may execute");
	if (lsm_check_tracer(REASON_UNPRIVILEGED_WRAPPER, err) < 0)
		return -1;
	return reaper_check(err);
}

/* Whether PROGRAM has less text than the policy asks for, and no library may have more. */
static bool has_too_little(const struct program *program, const struct settings *settings, struct error *reason)
{
	char have[16], want[16];
	if (settings->libraries || program->text_bytes == 0 || program->text_bytes >= settings->min_text_bytes)
		return false;
	return error_set(reason, REASON_TEXT_SMALL, "%s of text, the policy asks for %s",
	                 size_format(program->text_bytes, have, sizeof have),
	                 size_format(settings->min_text_bytes, want, sizeof want)) < 0;
}

bool command_is_settled(const struct policy *policy, const struct program *program, const struct decision *decision,
                        struct error *reason)
{
	bool may_remap = policy_may_remap(policy, VIA_SHIM);
	bool skips = decision->action == ACTION_SKIP || decision->action == ACTION_NOT_UNDERSTOOD;
	if (skips && decision->rule_matched && (!command_is_interpreted(program) || !may_remap))
		return policy_skip_reason(decision, reason) < 0;
	if (!may_remap)
		return error_set(reason, REASON_NO_RULE, "no rule is about programs started through hugexec") < 0;
	if (program->privileged && !program_may_be_traced(program))
		return program_privileged_error(program, reason) < 0;
	if (program->kind != PROGRAM_ELF || command_follow(program, decision) != FOLLOW_NONE)
		return false;
	if (skips)
		return policy_skip_reason(decision, reason) < 0;
	return decision->action != ACTION_UNDECIDED && has_too_little(program, &decision->settings, reason);
}
