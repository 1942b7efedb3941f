#include "launch/command.h"

#include "base/size.h"

/* Shells, interpreters and tools like env(1) have less text than this; node and databases have more. */
#define WRAPPER_TEXT_MAX_BYTES (8 * MIB)

/* Whether PROGRAM, which no rule matches, may have something to do with one that a rule does. */
static bool may_lead_on(const struct program *program, enum follow follow)
{
	switch (follow) {
	case FOLLOW_NONE: return false;
	case FOLLOW_EXEC: return program->text_bytes <= WRAPPER_TEXT_MAX_BYTES;
	default: return true; /* a supervisor's children are meant, however large it is */
	}
}

bool command_is_settled(const struct policy *policy, const struct program *program, const struct decision *decision,
                        struct error *reason)
{
	bool may_remap = policy_may_remap(policy, VIA_SHIM);
	bool is_rules_skip = decision->rule_matched && decision->action == ACTION_SKIP;
	if (is_rules_skip && (program->kind != PROGRAM_SCRIPT || !may_remap))
		return error_set(reason, "rule-skip", "the rule says to leave it alone") < 0;
	if (!may_remap)
		return error_set(reason, "no-rule", "no rule is about programs started through hugexec") < 0;
	if (program->privileged && !program_may_trace_privileged())
		return program_privileged_error(program, reason) < 0;
	if (program->kind == PROGRAM_FOREIGN)
		return error_set(reason, "not-native", "not a program for this processor's 64-bit mode") < 0;
	if (program->kind != PROGRAM_ELF || decision->action != ACTION_SKIP)
		return false;
	if (!may_lead_on(program, decision->settings.follow))
		return error_set(reason, "no-rule", "no rule matches") < 0;
	return false;
}

bool command_expects_remap(const struct program *program, const struct decision *decision)
{
	const struct settings *settings = &decision->settings;
	return program->kind == PROGRAM_ELF && decision->action != ACTION_SKIP && settings->follow != FOLLOW_FORK &&
	       program->text_bytes >= 2 * MIB && program->text_bytes >= settings->min_text_bytes;
}
