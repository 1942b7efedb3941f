/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backing_file.h - the backing that copies nothing: the file's own pages, in huge folios, mapped in place.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"

/*
 * Have the text of the object that mapping MAP_INDEX belongs to mapped by huge folios of the page cache: prepare the
 * cache, rebase the program if offset and address do not agree and that is possible, populate.
 *
 * TRACEE: STOPPED; STOPPED afterwards, or GONE. SPACE: as it is now. FD: the object's file. TAKE_PART: content with a
 * part of the slots (nothing better comes after). MAY_MOVE: the object is the main program, before its first
 * instruction. PLAN: filled in.
 *
 * Returns 0; or -1 with ERR, and the text is what it was, on small pages. Either way *REBASED is set if the program
 * has been moved: a step after the move may still fail, and the program runs at its new place. SPACE is then read anew;
 * it is empty (count 0) if it could not be read, so that nobody plans with addresses that the program has left.
 */
int backing_file_apply(struct tracee *tracee, struct address_space *space, size_t map_index,
                       const struct settings *settings, int fd, bool may_move, bool take_part, bool *rebased,
                       struct plan *plan, struct error *err);

/*
 * What backing_file_apply() would map of an object whose file is as long as it needs to be: PLAN. Pure. Returns 0, or
 * -1 with ERR if there is nothing.
 */
int backing_file_plan(const struct address_space *space, size_t map_index, const struct settings *settings,
                      bool may_move, struct plan *plan, struct error *err);

/*
 * Have the ranges of PLAN, which are mapped right and whose folios the page cache has, mapped by huge pages at once.
 * TRACEE, SPACE: as above. Returns 0, or -1 with ERR: the text is right, but some of it is on small pages.
 */
int populate_text(struct tracee *tracee, const struct address_space *space, const struct plan *plan, struct error *err);
