/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_testing.h - what the tests of the policy share.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"

/* The policy that TEXT says; the test fails where it does not parse. */
static inline struct policy *policy_of(const char *text)
{
	struct policy *policy = NULL;
	struct error err = {0};
	if (policy_parse(text, strlen(text), "p.json", &policy, &err) < 0)
		fail_msg("%s: %s\n%s", reason_word(err.code), err.detail, text);
	return policy;
}

/* The policy of one rule called "r" with this "match". */
static inline struct policy *policy_matching(const char *match)
{
	char text[8192];
	snprintf(text, sizeof text, "{\"version\":1,\"rules\":[{\"name\":\"r\",\"match\":%s}]}", match);
	return policy_of(text);
}

static inline enum action decide(const struct policy *policy, const struct match_input *input)
{
	struct decision decision;
	policy_decide(policy, input, &decision);
	return decision.action;
}

/* What a policy of one rule with this "match" says of FACTS. */
static inline enum action match_says(const char *match, const struct match_input *input)
{
	struct policy *policy = policy_matching(match);
	enum action action = decide(policy, input);
	policy_free(policy);
	return action;
}
