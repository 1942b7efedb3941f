/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - ask hugexecd to trace this process.
 */
#pragma once

#include "base/error.h"
#include "policy/policy.h"
#include "report/deliver.h"

/*
 * Ask to be traced from the next exec on, with OVERRIDES in place of the rule's settings, and reports to
 * TARGET. Makes only calls that a service may be expected to be allowed; if a seccomp filter may be in force
 * (IS_FILTERED) a child makes them first, so that a filter that kills does not kill us. Waits for the answer for
 * TIMEOUT_MS, a second at most.
 *
 * Returns a connection that must stay open until COMMAND is executed, which closes it; or -1 with ERR and nothing left
 * behind: words "helper-absent", "helper-timeout", "helper-gone", "helper-answer", "helper-refused" (something keeps us
 * from asking), or the helper's own.
 */
int helper_ask(const struct overrides *overrides, const struct report_target *target, bool is_filtered, int timeout_ms,
               struct error *err);
