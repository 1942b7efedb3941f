/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_rest.h - coverage "full": a sealed private copy of those slots of text that the file's own pages cannot hold.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"

/*
 * Copy what plan_rest() says of the object that OBJECT is a mapping of (of its file, wherever), with the first backing
 * of SETTINGS that copies and can. TRACEE: STOPPED; STOPPED afterwards, or GONE. FD: the object's file. IS_LOADED: the
 * tracee stands at its entry point, and no other thread of it runs. MAX_BYTES: as for plan_rest(). PLAN: what was done,
 * for the caller's perf map and report.
 *
 * Returns 0, with the reason in PLAN for what remains on small pages, if anything; -1 with ERR, and the text is what it
 * was.
 */
int copy_rest(struct tracee *tracee, const struct mapping *object, const struct settings *settings, int fd,
              bool is_loaded, uint64_t max_bytes, struct plan *plan, struct error *err);

/*
 * Whether an end of the text of OBJECT, a mapping of a program that stands at its exec stop, shares a slot with data
 * that may be read-only once ld.so has done its work.
 */
bool rest_waits_for_loader(const struct tracee *tracee, const struct mapping *object, const struct settings *settings);
