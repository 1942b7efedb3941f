/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_shared.h - which slots of text a copy on disk can fill that all processes share (shared_store.h). Pure.
 *
 * These are slots of text that is out of step with its file, so that no mapping of the file itself can be huge there.
 * A slot may hold read-only data of the file's beside the text, but nothing that anybody writes to, relocation data
 * included: what is in the slot is what the file says, in every process.
 */
#pragma once

#include <stdint.h>

#include "mm/maps.h"
#include "policy/policy.h"
#include "remap/plan.h"

/*
 * Plan for the object of SPACE that mapping MAP_INDEX belongs to; SPACE says what of it is changed
 * (private_pages_note()). Never fails: there may be no range.
 */
void plan_shared(const struct address_space *space, size_t map_index, const struct settings *settings,
                 uint64_t huge_bytes, struct plan *out);
