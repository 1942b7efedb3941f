/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a policy tells without a program to decide about.
 */
#include <stddef.h>

#include "policy/internal.h"

static bool uses_file_backing(const struct settings *settings)
{
	for (unsigned i = 0; i < settings->backing_count; i++) {
		if (settings->backing[i] == BACKING_FILE)
			return true;
	}
	return false;
}

void policy_each_file_rule(const struct policy *policy,
                           void (*each)(void *context, const char *const *exe, const struct settings *settings),
                           void *context)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		struct settings settings;
		settings_default(&settings);
		settings_apply(&settings, &policy->settings);
		settings_apply(&settings, &rule->settings);
		if (rule->action == ACTION_REMAP && uses_file_backing(&settings))
			each(context, rule->match.exe, &settings);
	}
}

bool policy_skips_exe(const struct policy *policy, const char *path)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		for (const char **glob = rule->match.exe; glob && *glob; glob++) {
			if (policy_path_matches(*glob, path))
				return rule->action != ACTION_REMAP;
		}
	}
	return false;
}
