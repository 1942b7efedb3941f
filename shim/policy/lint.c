/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/lint.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "policy/internal.h"

struct linting {
	const struct policy *policy;
	const struct lint_calls *calls;
	size_t rule; /* at hand; SIZE_MAX: the settings of the files */
};

__attribute__((format(printf, 2, 3))) static void remark(const struct linting *linting, const char *format, ...)
{
	const struct rule *rule = linting->rule == SIZE_MAX ? NULL : &linting->policy->rules[linting->rule];
	char text[600], shown[600], what[160] = "settings";
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (rule && rule->name)
		snprintf(what, sizeof what, "rule %zu \"%.100s\"", linting->rule + 1, rule->name);
	else if (rule)
		snprintf(what, sizeof what, "rule %zu", linting->rule + 1);
	char whole[sizeof text + sizeof what + 8];
	snprintf(whole, sizeof whole, "%s: %s", what, text);
	linting->calls->tell(linting->calls->context, rule ? rule->file : NULL,
	                     text_printable(whole, shown, sizeof shown));
}

static bool is_pattern(const char *glob)
{
	return strpbrk(glob, "*?[\\") != NULL;
}

/* Whether whatever GLOB matches is matched by WIDER too, as far as can be told by looking. */
static bool is_within(const char *glob, const char *wider, bool is_path)
{
	if (strcmp(glob, wider) == 0 || strcmp(wider, is_path ? "/**" : "*") == 0 || strcmp(wider, "**") == 0)
		return true;
	if (is_pattern(glob))
		return false;
	return is_path ? policy_path_matches(wider, glob) : fnmatch(wider, glob, 0) == 0;
}

/* The same of lists, of which any entry may hold; NULL: no such key, which holds always. */
static bool all_within(const char *const *globs, const char *const *wider, bool is_path)
{
	if (!wider)
		return true;
	for (const char *const *glob = globs; glob && *glob; glob++) {
		const char *const *entry = wider;
		while (*entry && !is_within(*glob, *entry, is_path))
			entry++;
		if (!*entry)
			return false;
	}
	return globs != NULL;
}

static bool named_within(const struct annotation_match *list, size_t count, const struct annotation_match *wider,
                         size_t wider_count)
{
	for (size_t i = 0; i < wider_count; i++) {
		bool found = false;
		for (size_t j = 0; j < count && !found; j++)
			found = strcmp(list[j].name, wider[i].name) == 0 &&
			        all_within(list[j].globs, wider[i].globs, false);
		if (!found)
			return false;
	}
	return true;
}

static bool containers_within(const struct match *match, const struct match *wider)
{
	return all_within(match->pod_namespace, wider->pod_namespace, false) &&
	       all_within(match->pod, wider->pod, false) && all_within(match->container, wider->container, false) &&
	       all_within(match->image, wider->image, false) &&
	       named_within(match->annotations, match->annotation_count, wider->annotations, wider->annotation_count) &&
	       named_within(match->labels, match->label_count, wider->labels, wider->label_count);
}

/* Whether a rule with WIDER, which is asked before, leaves nothing to one with MATCH. */
static bool covers(const struct match *wider, const struct match *match)
{
	if (wider->has_share || (wider->via && (!match->via || (match->via & ~wider->via))))
		return false;
	return all_within(match->exe, wider->exe, true) && all_within(match->build_id, wider->build_id, false) &&
	       all_within(match->user, wider->user, false) && all_within(match->unit, wider->unit, false) &&
	       all_within(match->cgroup, wider->cgroup, true) && containers_within(match, wider);
}

static void look_for_cover(const struct linting *linting)
{
	const struct policy *policy = linting->policy;
	for (size_t i = 0; i < linting->rule; i++) {
		if (!covers(&policy->rules[i].match, &policy->rules[linting->rule].match))
			continue;
		remark(linting, "never asked: rule %zu of %.200s matches all that it does, and comes before it", i + 1,
		       policy->rules[i].file);
		return;
	}
}

/* A part of a path that no resolved path has. */
static const char *impossible_part(const char *path)
{
	static const char *const parts[] = {"//", "/./", "/../"};
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		if (strstr(path, parts[i]))
			return parts[i];
	}
	size_t length = strlen(path);
	return length > 1 && path[length - 1] == '/' ? "/" : NULL;
}

static void look_at_paths(const struct linting *linting, const char *const *globs, const char *key)
{
	char why[LINT_WHY_BYTES];
	for (; globs && *globs; globs++) {
		const char *part = impossible_part(*globs);
		if (part && (strcmp(part, "/") != 0 || strcmp(key, "exe") == 0))
			remark(linting, "\"%s\" \"%.200s\" never matches: no program's path has \"%s\"%s", key, *globs,
			       part, strcmp(part, "/") == 0 ? " at its end" : " in it");
		else if (!part && strcmp(key, "exe") == 0 && !is_pattern(*globs) &&
		         !linting->calls->may_run(*globs, why))
			remark(linting, "\"exe\" \"%.200s\" never matches: %s", *globs, why);
	}
}

static void look_at_match(const struct linting *linting, const struct match *match)
{
	look_at_paths(linting, match->exe, "exe");
	look_at_paths(linting, match->cgroup, "cgroup");
	for (const char *const *unit = match->unit; unit && *unit; unit++) {
		if (!strpbrk(*unit, ".*?[\\"))
			remark(linting, "\"unit\" \"%.200s\" never matches: write \"%.200s.service\"", *unit, *unit);
	}
	for (const char *const *user = match->user; user && *user; user++) {
		if ((*user)[strspn(*user, "0123456789")] && !linting->calls->user_exists(*user))
			remark(linting, "this host has no user \"%.200s\"", *user);
	}
	if (match_asks_container(match) && match->via && !(match->via & VIA_HOOK))
		remark(linting,
		       "never matches: it asks for what only containers have, and \"via\" leaves \"hook\" out");
}

static bool uses(const struct settings *settings, enum backing backing)
{
	for (unsigned i = 0; i < settings->backing_count; i++) {
		if (settings->backing[i] == backing)
			return true;
	}
	return false;
}

/* Of the settings GIVEN those that change nothing when SETTINGS are in force: the first one's name and why, or NULL.
 */
static const char *idle_setting(unsigned given, const struct settings *settings)
{
	bool file = uses(settings, BACKING_FILE), hugetlb = uses(settings, BACKING_HUGETLB);
	bool only_file = file && settings->backing_count == 1;
	if ((given & SETTING_PAGE_SIZE) && !hugetlb)
		return "\"page_size\" has no effect: \"backing\" is without \"hugetlb\"";
	if ((given & SETTING_KEEP_FREE) && !hugetlb)
		return "\"keep_free\" has no effect: \"backing\" is without \"hugetlb\"";
	if ((given & SETTING_FILE_TIMEOUT) && !file)
		return "\"file_timeout\" has no effect: \"backing\" is without \"file\"";
	if ((given & SETTING_RODATA) && settings->rodata && !file)
		return "\"rodata\" has no effect: \"backing\" is without \"file\"";
	if ((given & SETTING_REBASE) && !file)
		return "\"rebase\" has no effect: \"backing\" is without \"file\"";
	if ((given & SETTING_ROUND_OUT) && !settings->round_out && settings->coverage == COVERAGE_FULL)
		return "\"round_out\": false has no effect: \"coverage\" is \"full\"";
	if ((given & SETTING_PERF_MAP) && settings->perf_map && only_file)
		return "\"perf_map\" has no effect: only copies need it, and \"backing\" is \"file\" alone";
	bool awaits = settings->library_prepare && settings->coverage == COVERAGE_FULL;
	if ((given & SETTING_FOLLOW_TIMEOUT) && settings->follow == FOLLOW_NONE && !awaits)
		return "\"follow_timeout\" has no effect: \"follow\" is \"none\"";
	if ((given & SETTING_WRAPPERS) && settings->follow == FOLLOW_NONE)
		return "\"wrappers\" has no effect: \"follow\" is \"none\"";
	return NULL;
}

static void look_at_settings(const struct linting *linting, const struct rule *rule)
{
	struct settings settings;
	settings_default(&settings);
	settings_apply(&settings, &linting->policy->settings);
	settings_apply(&settings, &rule->settings);
	if (rule->action == ACTION_SKIP) {
		if (rule->settings.given)
			remark(linting, "its settings have no effect: \"action\" is \"skip\"");
		return;
	}
	if (settings.min_text_bytes > settings.max_text_bytes)
		remark(linting, "it leaves every program alone: \"min_text\" is more than \"max_text\"");
	const char *idle = idle_setting(rule->settings.given, &settings);
	if (idle)
		remark(linting, "%s", idle);
}

/* Settings for all rules are idle if they are for each that remaps. */
static void look_at_common_settings(const struct linting *linting)
{
	const struct policy *policy = linting->policy;
	const char *idle = NULL;
	bool remaps = policy->default_action != ACTION_SKIP;
	struct settings settings;
	settings_default(&settings);
	settings_apply(&settings, &policy->settings);
	if (remaps)
		idle = idle_setting(policy->settings.given, &settings);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		struct settings merged = settings;
		if (rule->action == ACTION_SKIP)
			continue;
		settings_apply(&merged, &rule->settings);
		const char *here = idle_setting(policy->settings.given, &merged);
		if (!here || (idle && strcmp(idle, here) != 0))
			return;
		idle = here;
		remaps = true;
	}
	if (idle)
		remark(linting, "%s", idle);
	else if (!remaps && policy->rule_count > 0)
		remark(linting, "no program is ever put on huge pages: no rule says \"remap\" or \"observe\", nor does "
		                "\"default\"");
}

void policy_lint(const struct policy *policy, const struct lint_calls *calls)
{
	struct linting linting = {policy, calls, SIZE_MAX};
	look_at_common_settings(&linting);
	for (linting.rule = 0; linting.rule < policy->rule_count; linting.rule++) {
		look_for_cover(&linting);
		look_at_match(&linting, &policy->rules[linting.rule].match);
		look_at_settings(&linting, &policy->rules[linting.rule]);
	}
}
