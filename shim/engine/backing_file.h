/*
 * backing_file.h - the backing that copies nothing: the file's own pages, in huge folios, mapped in place.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "engine/image.h"
#include "engine/plan.h"
#include "engine/tracee.h"
#include "policy/policy.h"

/*
 * Have the text of the object that mapping MAP_INDEX belongs to mapped by huge folios of the page cache: prepare the
 * cache, rebase the program where offset and address do not agree and that is possible, populate.
 *
 * TRACEE: STOPPED; STOPPED afterwards, or GONE. IMAGE: as it is now; read anew where the program was rebased
 * (*REBASED). FD: the object's file. TAKE_PART: content with a part of the slots (nothing better comes after).
 * MAY_MOVE: the object is the main program, before its first instruction. PLAN: filled in. Returns 0; or -1 with ERR
 * and the tracee as it was.
 */
int backing_file_apply(struct tracee *tracee, struct image *image, size_t map_index, const struct settings *settings,
                       int fd, bool may_move, bool take_part, bool *rebased, struct plan *plan, struct error *err);
