/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_in_place.h - which slots of addresses the file's own pages can fill where they are. Pure.
 *
 * The kernel maps a huge folio by one entry only if address and file offset agree modulo a huge page, and if one
 * mapping spans the slot. Whole slots of text are so already. A slot at either end of the text is not; but if all
 * else in it is the same file's own read-only memory at offsets that agree, or nothing, one mapping of the file over
 * the whole slot shows the same bytes at each address that was readable before (widen.h). What is beside the text can
 * be executed then, which is why "round_out" decides about it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mm/maps.h"
#include "policy/policy.h"
#include "remap/plan.h"

/*
 * Plan for the object of SPACE that mapping MAP_INDEX belongs to, a file of FILE_BYTES, on huge pages of
 * HUGE_BYTES. Each range has one piece. Slots
 * at the ends are in it if SETTINGS say so (round_out), and if the file does not end inside them: such a slot is
 * never one folio. Never fails: a plan with no range has a reason, as plan_make().
 */
void plan_in_place(const struct address_space *space, size_t map_index, const struct settings *settings,
                   uint64_t file_bytes, uint64_t huge_bytes, struct plan *out);

/*
 * The whole slots inside the read-only data of the object of SPACE that mapping MAP_INDEX belongs to, as far as offset
 * and address agree there: what the kernel maps by huge pages by itself, once the page cache has them. OUT has ranges
 * of one piece each, none if there is no such slot.
 */
void plan_rodata(const struct address_space *space, size_t map_index, uint64_t huge_bytes, struct plan *out);

/*
 * Whether all that is mapped in the slot of HUGE_BYTES at ADDR, in which the text with index TEXT_INDEX is, FITS. Of
 * holes those may be in it that lie below a mapping of the object's own, and with a library all.
 */
bool slot_holds_only(const struct address_space *space, size_t text_index, uint64_t addr, uint64_t huge_bytes,
                     bool (*fits)(const struct mapping *part, const struct mapping *text));
