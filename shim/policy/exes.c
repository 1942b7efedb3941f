/*
 * What a policy tells without a program to decide about.
 */
#include <string.h>

#include "policy/internal.h"

static bool uses_file_backing(const struct policy *policy, const struct rule *rule)
{
	struct settings settings;
	settings_default(&settings);
	settings_apply(&settings, &policy->settings);
	settings_apply(&settings, &rule->settings);
	for (unsigned i = 0; i < settings.backing_count; i++) {
		if (settings.backing[i] == BACKING_FILE)
			return true;
	}
	return false;
}

static bool is_told(const char **told, size_t count, const char *exe)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(told[i], exe) == 0)
			return true;
	}
	return false;
}

size_t policy_plain_exes(const struct policy *policy, const char **out, size_t max)
{
	size_t count = 0;
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct rule *rule = &policy->rules[i];
		if (rule->action != ACTION_REMAP || !rule->match.exe || !uses_file_backing(policy, rule))
			continue;
		for (const char **exe = rule->match.exe; *exe; exe++) {
			if (strpbrk(*exe, "*?[\\") || is_told(out, count < max ? count : max, *exe))
				continue;
			if (count < max)
				out[count] = *exe;
			count++;
		}
	}
	return count;
}
