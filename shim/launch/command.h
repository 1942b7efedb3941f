/*
 * command.h - what is clear of COMMAND before it is executed. A launch asks, and so does who foretells a launch.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "launch/program.h"
#include "policy/policy.h"

/*
 * Whether PROGRAM, about which POLICY makes DECISION by its path, is to be left alone without a look at what it will
 * execute; REASON says why. A script's rule is its interpreter's, and a program that no rule matches may still execute
 * one that a rule does, so those are followed: unless their size says that they are no wrappers, and children are not
 * what is followed.
 */
bool command_is_settled(const struct policy *policy, const struct program *program, const struct decision *decision,
                        struct error *reason);

/* Whether PROGRAM itself is what the rule is about, and no wrapper: it has text enough for a huge page. */
bool command_expects_remap(const struct program *program, const struct decision *decision);
