/* SPDX-License-Identifier: Apache-2.0 */
/*
 * awaited_library.h - a library that a program loads when it runs (dlopen(3)): when is it mapped, and is ld.so through
 * with it?
 *
 * Its whole slots come in place by themselves (libraries.h). The ends of its text need a mapping over what lies beside
 * them, which only a tracer can make, and that only when ld.so is through: it maps the library as a whole first, then
 * its segments over that, one after the other, then relocates it, and last makes the relocation data read-only.
 * Pure: no I/O.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mm/maps.h"

/* As many are waited for. */
#define AWAITED_MAX 8

struct awaited_library {
	char path[PATH_MAX];           /* as the target names it */
	unsigned dev_major, dev_minor; /* its file, as lists of mappings tell it */
	uint64_t inode;
	bool has_relro;          /* what lies at RELRO_FILE_OFF is made read-only in the end */
	uint64_t relro_file_off; /* bytes */
};

struct awaited_libraries {
	unsigned count;
	struct awaited_library list[AWAITED_MAX];
};

/* Index of the first mapping of LIBRARY's text in SPACE, or -1. */
ssize_t awaited_library_find(const struct address_space *space, const struct awaited_library *library);

/*
 * A number for how LIBRARY is mapped in SPACE, which changes with each step that ld.so takes; 0: its text is not
 * mapped. *IS_WRITABLE: relocation data is not read-only yet.
 */
uint64_t awaited_library_look(const struct address_space *space, const struct awaited_library *library,
                              bool *is_writable);
