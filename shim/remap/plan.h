/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - which addresses go on huge pages. A pure function of address space and settings: no process, no I/O.
 *
 * The text of an object is its mappings that are private, readable, executable and not writable. A plan names, per
 * object, the runs of whole huge-page slots inside that text; with `round_out`, the slots at head and tail too, if
 * the rest of the slot is the same object's own read-only memory. What a plan promises (and the fuzzer checks): ranges
 * are aligned, ordered and disjoint, and every byte of a range has exactly one piece that says where in the file it is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "mm/maps.h"
#include "policy/policy.h"

#define PLAN_PIECES_MAX 64
#define PLAN_RANGES_MAX 32

/* A run of bytes of the file, where it is mapped. */
struct plan_piece {
	uint64_t start, end; /* tracee addresses */
	uint64_t file_off;   /* of start */
	bool in_memory;      /* ld.so has changed it: the bytes are the tracee's, not the file's (plan_rest.h) */
	const char *bytes;   /* then, once they were read: what they are; borrowed */
};

/* A run of huge-page slots: [start, end), covered by pieces[first_piece .. first_piece + piece_count). */
struct plan_range {
	uint64_t start, end;
	unsigned first_piece, piece_count;
};

/* The plan for one object (the program itself, or one library). */
struct plan {
	size_t map_index; /* first text mapping of the object in the address space */
	uint64_t page_bytes;
	uint64_t text_start, text_end; /* hull of the object's text */
	uint64_t text_bytes;           /* all of the object's text */
	uint64_t range_bytes;          /* what the ranges cover */
	struct plan_range ranges[PLAN_RANGES_MAX];
	unsigned range_count;
	struct plan_piece pieces[PLAN_PIECES_MAX];
	unsigned piece_count;
	bool has_data_beside; /* an end of the text is in a slot that may not be copied (plan_rest.h) */
	struct error reason;  /* why there is no range, or not all; unset if whole slots are all covered */
};

/*
 * Plan for the object of SPACE that mapping MAP_INDEX belongs to, with huge pages of PAGE_BYTES. Never fails: a plan
 * with no range says why in its reason ("no-text", "text-small", "text-large", "text-writable", "no-huge-slot").
 */
void plan_make(const struct address_space *space, size_t map_index, const struct settings *settings,
               uint64_t page_bytes, struct plan *out);

/*
 * What plans of all kinds begin with: sum up the object's text. Returns false with a reason in OUT if it must be
 * left alone, else a plan without ranges.
 */
bool plan_begin(const struct address_space *space, size_t map_index, const struct settings *settings,
                uint64_t page_bytes, struct plan *out);
