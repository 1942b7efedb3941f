/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prescreen.h - what is clear of COMMAND before it is executed. A launch asks, and so does who foretells a launch.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "policy/policy.h"
#include "tracer/exe_inspect.h"

/*
 * Whether PROGRAM, about which POLICY makes DECISION by its path, is to be left alone without a look at what it will
 * execute; REASON says why. A script's rule is its interpreter's.
 */
bool command_is_settled(const struct policy *policy, const struct program *program, const struct decision *decision,
                        struct error *reason);

/* How PROGRAM is followed: FOLLOW_NONE if it is neither a wrapper nor a script. */
enum follow command_follow(const struct program *program, const struct decision *decision);

/*
 * Whether a tracer of our own may follow what COMMAND executes. Returns 0, or -1 with ERR word "unprivileged-wrapper"
 * or "no-reaper".
 */
int command_check_follow(struct error *err);

/* Whether PROGRAM is one that another program runs: a script's interpreter, or an emulator of binfmt_misc. */
bool command_is_interpreted(const struct program *program);
