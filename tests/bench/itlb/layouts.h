/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layouts - which page a byte of text is in, plain and under each way of having text on huge pages.
 *
 *   plain         4 KiB
 *   TiExec        whole 2 MiB slots of addresses inside the program's executable segment; no libraries
 *   iodlr         whole slots of addresses inside the section .text of the program and the libraries loaded with it
 *   libhugetlbfs  the program linked anew, its segments on 2 MiB boundaries: all of it; no libraries
 *   Hugifier      program and libraries, dlopened ones as well, rewritten so that text begins and ends with a slot: all
 * of it hugexec file  whole slots of the file, of the program (moved if it can be) and of libraries, dlopened ones as
 * well hugexec full  of the program and libraries loaded with it all slots, those at the ends as well
 *
 * hugexec takes objects with at least 2 MiB of text (min_text), and "libraries" is on. The loader and code that is in
 * no file stay on 4 KiB everywhere. Hugifier's row is what it aims at: it does not succeed with each file.
 */
#ifndef ITLB_LAYOUTS_H
#define ITLB_LAYOUTS_H

#include "objects.h"

enum layout {
	LAYOUT_PLAIN,
	LAYOUT_TIEXEC,
	LAYOUT_IODLR,
	LAYOUT_LIBHUGETLBFS,
	LAYOUT_HUGIFIER,
	LAYOUT_FILE,
	LAYOUT_FULL,
	LAYOUT_COUNT
};

extern const char *const layout_names[LAYOUT_COUNT];

/* Can hugexec have OBJECT's text on the file's huge pages? It takes objects with enough text, in step with their files.
 */
bool layout_has_slots(const struct object *object);

/* The key (tlb.h) of the page of OBJECT's text that begins at OFFSET of its file. */
uint64_t layout_key(enum layout layout, const struct object *object, uint64_t offset);

/* All layouts' keys of it. */
void layout_keys(const struct object *object, uint64_t offset, uint64_t keys[LAYOUT_COUNT]);

/* How much of OBJECT's text is on huge pages. */
uint64_t layout_huge_bytes(enum layout layout, const struct object *object);

#endif
