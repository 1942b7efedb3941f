/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching: what is known of a launch against rules. No I/O: a user's name that is not known is asked for, once all
 * else of a rule holds.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/internal.h"

static bool any_path_glob(const char **globs, const char *path)
{
	for (; path && *globs; globs++) {
		if (policy_path_matches(*globs, path))
			return true;
	}
	return false;
}

static bool any_glob(const char **globs, const char *text)
{
	for (; text && *globs; globs++) {
		if (fnmatch(*globs, text, 0) == 0)
			return true;
	}
	return false;
}

static bool any_prefix(const char **prefixes, const char *text)
{
	for (; *prefixes; prefixes++) {
		if (strncmp(text, *prefixes, strlen(*prefixes)) == 0)
			return true;
	}
	return false;
}

enum held { HELD_NO, HELD_YES, HELD_UNKNOWN };

static enum held is_user(const char *wanted, const struct match_input *input)
{
	if (wanted[strspn(wanted, "0123456789")] == '\0')
		return strtoul(wanted, NULL, 10) == input->uid ? HELD_YES : HELD_NO;
	for (size_t i = 0; i < input->user_count; i++) {
		const struct known_user *user = &input->users[i];
		if (strcmp(user->name, wanted) == 0)
			return user->exists && user->uid == input->uid ? HELD_YES : HELD_NO;
	}
	return HELD_UNKNOWN;
}

/* UNKNOWN: the first name that has to be looked up, if that is what it hangs on. */
static enum held any_user(const char **users, const struct match_input *input, const char **unknown)
{
	for (; *users; users++) {
		enum held held = is_user(*users, input);
		if (held == HELD_YES)
			return HELD_YES;
		if (held == HELD_UNKNOWN && !*unknown)
			*unknown = *users;
	}
	return *unknown ? HELD_UNKNOWN : HELD_NO;
}

static bool all_named_hold(const struct annotation_match *wanted, size_t wanted_count, const struct annotation *given,
                           size_t given_count)
{
	for (size_t i = 0; i < wanted_count; i++) {
		bool held = false;
		for (size_t j = 0; j < given_count && !held; j++)
			held = strcmp(wanted[i].name, given[j].name) == 0 && any_glob(wanted[i].globs, given[j].value);
		if (!held)
			return false;
	}
	return true;
}

/* FACTS may be NULL: it is no container. */
static bool container_holds(const struct match *match, const struct container_attrs *attrs)
{
	static const struct container_attrs none;
	if (!attrs)
		attrs = &none;
	if ((match->pod_namespace && !any_glob(match->pod_namespace, attrs->pod_namespace)) ||
	    (match->pod && !any_glob(match->pod, attrs->pod)) ||
	    (match->container && !any_glob(match->container, attrs->container)) ||
	    (match->image && !any_glob(match->image, attrs->image)))
		return false;
	return all_named_hold(match->annotations, match->annotation_count, attrs->annotations,
	                      attrs->annotation_count) &&
	       all_named_hold(match->labels, match->label_count, attrs->labels, attrs->label_count);
}

bool match_asks_container(const struct match *match)
{
	return match->pod_namespace || match->pod || match->container || match->image || match->annotation_count ||
	       match->label_count;
}

/*
 * Whether the host is of the rule's share: FNV-1a of machine ID and name, finished as MurmurHash3 does it, modulo 100.
 * Never to be changed: the hosts that a share has are those that it had, and a larger one has them too.
 */
static bool is_of_share(const struct rule *rule, const char *machine_id)
{
	if (rule->match.share >= 100)
		return true;
	if (!machine_id)
		return false;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const char *parts[] = {machine_id, "/", rule->name};
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		for (const unsigned char *p = (const unsigned char *)parts[i]; *p; p++)
			hash = (hash ^ *p) * UINT64_C(0x100000001b3);
	}
	hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
	hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return (hash ^ hash >> 33) % 100 < rule->match.share;
}

/* UNKNOWN_USER: the name that it hangs on, if it is HELD_UNKNOWN; NULL: the build id. */
static enum held rule_holds(const struct rule *rule, const struct match_input *input, const char **unknown_user)
{
	const struct match *match = &rule->match;
	if (match->via && !(match->via & (unsigned)input->via))
		return HELD_NO;
	if (match->exe && !any_path_glob(match->exe, input->exe) && !any_path_glob(match->exe, input->called))
		return HELD_NO;
	if (match->unit && !any_glob(match->unit, input->unit))
		return HELD_NO;
	if (match->cgroup && !any_path_glob(match->cgroup, input->cgroup))
		return HELD_NO;
	if (!container_holds(match, input->container) || (match->has_share && !is_of_share(rule, input->machine_id)))
		return HELD_NO;
	if (match->build_id && input->build_id && !any_prefix(match->build_id, input->build_id))
		return HELD_NO;
	enum held user = match->user ? any_user(match->user, input, unknown_user) : HELD_YES;
	if (user != HELD_YES)
		return user;
	return match->build_id && !input->build_id ? HELD_UNKNOWN : HELD_YES;
}

void policy_decide(const struct policy *policy, const struct match_input *input, struct decision *out)
{
	*out = (struct decision){.action = policy->default_action};
	settings_default(&out->settings);
	settings_apply(&out->settings, &policy->settings);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		const char *unknown_user = NULL;
		enum held held = rule_holds(rule, input, &unknown_user);
		if (held == HELD_NO)
			continue;
		out->action = held == HELD_UNKNOWN ? ACTION_UNDECIDED : rule->action;
		out->user = held == HELD_UNKNOWN ? unknown_user : NULL;
		out->rule_matched = true;
		out->rule_name = rule->name;
		out->rule_index = i;
		out->rule_file = rule->file;
		out->mistake = rule->mistake;
		settings_apply(&out->settings, &rule->settings);
		break;
	}
	if (out->action == ACTION_OBSERVE || out->action == ACTION_NOT_UNDERSTOOD)
		out->settings.on_error = ON_ERROR_CONTINUE; /* nothing is to be done that could fail */
}

unsigned policy_needs(const struct policy *policy)
{
	unsigned needs = 0;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct match *match = &policy->rules[i].match;
		needs |= (match->build_id ? INPUT_BUILD_ID : 0U) | (match->unit ? INPUT_UNIT : 0U) |
		         (match->cgroup ? INPUT_CGROUP : 0U) | (match_asks_container(match) ? INPUT_CONTAINER : 0U) |
		         (match->user ? INPUT_USER : 0U) | (match->exe ? INPUT_CALLED : 0U) |
		         (match->has_share ? INPUT_MACHINE_ID : 0U);
	}
	return needs;
}

/*
 * Whether POLICY may remap something of which only FACTS' via and container are known. ANY_CONTAINER: not even that, so
 * a rule that asks for one is neither out of reach nor sure to hold.
 */
static bool may_remap(const struct policy *policy, const struct match_input *input, bool any_container)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		const struct match *match = &rule->match;
		if (match->via && !(match->via & (unsigned)input->via))
			continue;
		if (!any_container && !container_holds(match, input->container))
			continue;
		if (rule->action == ACTION_REMAP || rule->action == ACTION_OBSERVE)
			return true;
		bool is_sure = (!any_container || !match_asks_container(match)) && !match->has_share;
		if (is_sure && !match->exe && !match->build_id && !match->user && !match->unit && !match->cgroup)
			return false; /* it always holds, and no later rule is asked */
	}
	return policy->default_action != ACTION_SKIP;
}

bool policy_may_remap(const struct policy *policy, enum via via)
{
	return may_remap(policy, &(struct match_input){.via = via}, via == VIA_HOOK);
}

bool policy_may_remap_container(const struct policy *policy, const struct container_attrs *attrs)
{
	return may_remap(policy, &(struct match_input){.via = VIA_HOOK, .container = attrs}, false);
}

static bool names(const struct annotation_match *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i].name, name) == 0)
			return true;
	}
	return false;
}

bool policy_asks_annotation(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct match *match = &policy->rules[i].match;
		if (names(match->annotations, match->annotation_count, name))
			return true;
	}
	return false;
}

bool policy_asks_label(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct match *match = &policy->rules[i].match;
		if (names(match->labels, match->label_count, name))
			return true;
	}
	return false;
}

void policy_rule_label(const struct decision *decision, char *out, size_t out_bytes)
{
	if (!decision->rule_matched)
		out[0] = '\0';
	else if (decision->rule_name)
		snprintf(out, out_bytes, "%s", decision->rule_name);
	else
		snprintf(out, out_bytes, "rule %zu of %s", decision->rule_index + 1, decision->rule_file);
}

int policy_skip_reason(const struct decision *decision, struct error *reason)
{
	if (!decision->rule_matched)
		return error_set(reason, REASON_NO_RULE, "no rule matches");
	if (decision->action == ACTION_NOT_UNDERSTOOD)
		return error_set(reason, REASON_RULE_UNKNOWN, "%s", decision->mistake);
	return error_set(reason, REASON_RULE_SKIP, "the rule says to leave it alone");
}

size_t policy_each_left_out(const struct policy *policy, void (*each)(void *context, const char *mistake),
                            void *context)
{
	size_t count = 0;
	for (size_t i = 0; i < policy->rule_count; i++) {
		if (policy->rules[i].action != ACTION_NOT_UNDERSTOOD)
			continue;
		each(context, policy->rules[i].mistake);
		count++;
	}
	return count;
}
