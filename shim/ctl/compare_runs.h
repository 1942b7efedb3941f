/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare_runs.h - run a command plain and under hugexec in turn, and compare.
 */
#pragma once

#include "ctl/comparison.h"
#include "policy/policy.h"

struct compare_request {
	char *const *command;    /* NULL-terminated */
	const char *policy_file; /* NULL: the host's */
	struct overrides overrides;
	size_t pairs;
	bool ignores_failure; /* goes on if the command ends with another status than 0 */
	bool shows_progress;  /* on standard error */
};

/* Returns 0; -1 if there is nothing to compare, after a message. */
int compare_runs(const struct compare_request *request, struct comparison *out);
