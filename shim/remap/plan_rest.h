/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_rest.h - which slots with text in them need a private copy, if all text is wanted (coverage: full). Pure.
 *
 * These are the slots that the file's own pages cannot fill where they are (plan_in_place.h): those in which the text
 * is out of step with the file or with what lies beside it; and once ld.so has done its work, those that begin with
 * relocation data (RELRO), which nobody can write to any more. That is in no file: such a piece is read from the
 * tracee.
 */
#pragma once

#include <stdbool.h>

#include "base/size.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "remap/plan.h"

/* The most that is copied of an object whose whole slots are in place. */
#define REST_BYTES_MAX (4 * MIB)

/*
 * Plan for the object of SPACE that mapping MAP_INDEX belongs to, with huge pages of HUGE_BYTES. IS_LOADED: it stands
 * at its entry point, and what is read-only now remains so; SPACE says what of it is changed (private_pages_note()). A
 * range may have holes, which no piece covers. Ranges are MAX_BYTES at most; a text mapping that is out of step with
 * the file and larger than that is left out as a whole. Never fails: if text remains on small pages the reason in OUT
 * says why ("copy-limit", "data-beside-text").
 */
void plan_rest(const struct address_space *space, size_t map_index, const struct settings *settings, bool is_loaded,
               uint64_t huge_bytes, uint64_t max_bytes, struct plan *out);

/*
 * The same if IN_PLACE says which slots need no copy (plan_in_place()); plan_rest() takes those of whole text.
 */
void plan_rest_beside(const struct address_space *space, size_t map_index, const struct settings *settings,
                      bool is_loaded, const struct plan *in_place, uint64_t max_bytes, struct plan *out);

/* Whether PART, of the object that TEXT is of, is what the file says, and nobody can write to it. */
bool plan_may_be_copied(const struct mapping *part, const struct mapping *text);

/*
 * Add the slots [START, END), of which one has text of the mapping with TEXT_INDEX, to PLAN, with pieces for what is
 * mapped there. Returns false if it is in too many.
 */
bool plan_add_slots(const struct address_space *space, size_t text_index, uint64_t start, uint64_t end,
                    struct plan *plan);
