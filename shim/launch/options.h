/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the exec shim's command line.
 */
#pragma once

#include <stdbool.h>

#include "policy/policy.h"
#include "report/deliver.h"

struct options {
	const char *policy_file; /* NULL: the host's */
	struct overrides overrides;
	const char *argv0; /* NULL: COMMAND */
	bool dry_run;
	struct report_target report;
	char **command; /* COMMAND and its arguments, NULL-terminated */
};

/* What main() does after parsing. */
enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/*
 * Parse ARGV. OPTIONS_RUN: *OUT is filled in. OPTIONS_DONE: --help or --version was printed. OPTIONS_WRONG: a message
 * was printed to standard error.
 */
enum options_verdict options_parse(int argc, char **argv, struct options *out);
