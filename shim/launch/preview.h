/*
 * preview.h - what --dry-run prints.
 */
#pragma once

#include "launch/options.h"
#include "launch/program.h"
#include "policy/policy.h"

/* Print to standard error the decision about PROGRAM and the plan for it; nothing is run. Returns the exit status. */
int preview_print(const struct options *options, const struct policy *policy, const struct program *program);
