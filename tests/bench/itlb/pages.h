/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages - the pages that a guest of QEMU's executes code from, and what is mapped there.
 *
 * Found by /proc/self/maps of the QEMU process, whose mappings of files are the guest's. To be used by one thread at a
 * time (QEMU translates code under a lock); only the counter of a page is written by all.
 */
#ifndef ITLB_PAGES_H
#define ITLB_PAGES_H

#include <stdbool.h>

#include "layouts.h"

struct code_page {
	struct code_page *next_in_bucket, *next;
	uint64_t address; /* guest's */
	unsigned generation;
	unsigned id;
	const struct object *object; /* NULL: code in no file, made by a JIT compiler */
	uint64_t offset;             /* of the page in the object's file */
	uint64_t keys[LAYOUT_COUNT];
	uint64_t insns; /* executed; threads may lose some of each other's */
};

/*
 * The program that will be executed, by its path in the file system; before QEMU maps anything of it. The guest finds
 * its loader below ROOT ("" for this machine's).
 */
void pages_begin(const char *program, const char *root);

/* Mappings have changed. May be called by any thread. */
void pages_forget_mappings(void);

/* The page of the guest's ADDRESS, which is at HOST in QEMU's memory. */
struct code_page *pages_get(uint64_t address, uint64_t host);

/* All that pages_get() has returned, the newest first. */
const struct code_page *pages_all(void);

/* All program files and libraries that were seen. */
const struct object *pages_objects(void);

#endif
