/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm_policy.h - the files that a policy would have prepared: programs, their libraries, and what they load later.
 */
#pragma once

#include <stdbool.h>

#include "policy/policy.h"

/* WITH_RODATA: the rule wants the program's read-only data as well. IS_FULL: it wants all text of this library. */
typedef void warm_file_found(void *context, const char *path, bool with_rodata, bool is_full);

/*
 * Call EACH with every file whose page cache is worth preparing by POLICY, once: programs that rules name by a path or
 * a pattern that begins with a folder; if their rule wants libraries those that they load at start (as they would in
 * the environment of a service), and those that it names to be prepared; and the programs of the services that
 * hugexecctl enable has given to hugexec, which are looked for below UNITS ("/run/systemd/generator"; NULL: not). One
 * that stands in the policy as it is may be missing; the others are there, and have whole slots of text.
 */
void warm_policy(const struct policy *policy, const char *units, warm_file_found *each, void *context);
