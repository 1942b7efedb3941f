/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lint.h - what is valid in a policy and still is not what somebody can have meant: a rule that is never asked or never
 * matches, a setting without effect. hugexecctl check tells it; programs are started all the same.
 */
#pragma once

#include "policy/policy.h"

#define LINT_WHY_BYTES 256

/* Who is told, and who knows this host. */
struct lint_calls {
	/* FILE: where the rule stands; NULL: it is about the settings of all files. */
	void (*tell)(void *context, const char *file, const char *text);
	void *context;
	/* false: there is surely no such user */
	bool (*user_exists)(const char *name);
	/* false: what PATH, without wildcards, names is there and never runs as a program; WHY: what it is instead */
	bool (*may_run)(const char *path, char why[LINT_WHY_BYTES]);
};

void policy_lint(const struct policy *policy, const struct lint_calls *calls);
