/*
 * Matching: facts against rules. No I/O, but for the lookup of a user's name once all else of a rule holds.
 */
#include <fnmatch.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "policy/internal.h"

/*
 * A segment between two "**" is matched by fnmatch(3) against every place where it could begin. Patterns are short (the
 * parser bounds them) and a ** consumes greedily from the left, so this is at most quadratic in the path.
 */
bool path_glob_matches(const char *glob, const char *path)
{
	const char *stars = strstr(glob, "**");
	if (!stars)
		return fnmatch(glob, path, FNM_PATHNAME) == 0;
	char head[GLOB_LENGTH_MAX + 2];
	size_t head_len = (size_t)(stars - glob);
	if (head_len >= sizeof head - 1)
		return false;
	memcpy(head, glob, head_len);
	head[head_len] = '\0';
	const char *rest = stars + 2;
	/* Try each split of the path: HEAD must match what is before it, the rest of the pattern what is behind. */
	char part[4097];
	for (size_t split = 0; split <= strlen(path) && split < sizeof part; split++) {
		memcpy(part, path, split);
		part[split] = '\0';
		if (fnmatch(head, part, FNM_PATHNAME) != 0)
			continue;
		if (*rest == '\0')
			return true;
		for (const char *tail = path + split; *tail; tail++) {
			if (path_glob_matches(rest, tail))
				return true;
		}
		return path_glob_matches(rest, "");
	}
	return false;
}

static bool any_path_glob(const char **globs, const char *path)
{
	for (; path && *globs; globs++) {
		if (path_glob_matches(*globs, path))
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

static bool is_user(const char *wanted, uid_t uid)
{
	char *end;
	unsigned long number = strtoul(wanted, &end, 10);
	if (*end == '\0')
		return number == uid;
	char buf[4096];
	struct passwd entry, *found = NULL;
	return getpwnam_r(wanted, &entry, buf, sizeof buf, &found) == 0 && found && entry.pw_uid == uid;
}

static bool any_user(const char **users, uid_t uid)
{
	for (; *users; users++) {
		if (is_user(*users, uid))
			return true;
	}
	return false;
}

static bool annotations_hold(const struct match *match, const struct facts *facts)
{
	for (size_t i = 0; i < match->annotation_count; i++) {
		bool held = false;
		for (size_t j = 0; j < facts->annotation_count && !held; j++)
			held = strcmp(match->annotations[i].name, facts->annotations[j].name) == 0 &&
			       any_glob(match->annotations[i].globs, facts->annotations[j].value);
		if (!held)
			return false;
	}
	return true;
}

enum held { HELD_NO, HELD_YES, HELD_UNKNOWN };

static enum held match_holds(const struct match *match, const struct facts *facts)
{
	if (match->via && !(match->via & (unsigned)facts->via))
		return HELD_NO;
	if (match->exe && !any_path_glob(match->exe, facts->exe))
		return HELD_NO;
	if (match->unit && !any_glob(match->unit, facts->unit))
		return HELD_NO;
	if (match->cgroup && !any_path_glob(match->cgroup, facts->cgroup))
		return HELD_NO;
	if (!annotations_hold(match, facts))
		return HELD_NO;
	if (match->user && !any_user(match->user, facts->uid))
		return HELD_NO;
	if (!match->build_id)
		return HELD_YES;
	if (!facts->build_id)
		return HELD_UNKNOWN;
	return any_prefix(match->build_id, facts->build_id) ? HELD_YES : HELD_NO;
}

void policy_decide(const struct policy *policy, const struct facts *facts, struct decision *out)
{
	*out = (struct decision){.action = policy->default_action};
	settings_default(&out->settings);
	settings_apply(&out->settings, &policy->settings);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		enum held held = match_holds(&rule->match, facts);
		if (held == HELD_NO)
			continue;
		out->action = held == HELD_UNKNOWN ? ACTION_UNDECIDED : rule->action;
		out->rule_matched = true;
		out->rule_name = rule->name;
		out->rule_index = i;
		out->rule_file = rule->file;
		settings_apply(&out->settings, &rule->settings);
		return;
	}
}

unsigned policy_needs(const struct policy *policy)
{
	unsigned needs = 0;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct match *match = &policy->rules[i].match;
		needs |= (match->build_id ? FACT_BUILD_ID : 0U) | (match->unit ? FACT_UNIT : 0U) |
		         (match->cgroup ? FACT_CGROUP : 0U) | (match->annotation_count ? FACT_ANNOTATION : 0U) |
		         (match->user ? FACT_USER : 0U);
	}
	return needs;
}

bool policy_may_remap(const struct policy *policy, enum via via)
{
	if (policy->default_action == ACTION_REMAP)
		return true;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		bool reachable = !rule->match.via || (rule->match.via & (unsigned)via);
		/* Only containers have annotations. */
		reachable &= !rule->match.annotation_count || via == VIA_HOOK;
		if (reachable && rule->action == ACTION_REMAP)
			return true;
	}
	return false;
}
