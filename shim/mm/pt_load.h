/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pt_load.h - where the kernel has put the segments of the main program, by the program headers that it went by.
 *
 * Which mappings are a program's own cannot be told from the list of mappings alone: a segment that is all zeros is
 * anonymous and may have holes around it, and the ELF interpreter may be the same file once more.
 *
 * The headers are untrusted. As many as the kernel takes are read, each where the file's own offset says, by pread(2):
 * an offset that makes no sense reads nothing.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "mm/maps.h"

#define SEGMENTS_MAX 32

struct segments {
	unsigned count;
	uint64_t align; /* the largest that a segment asks for, and so of the program's base; a power of two */
	struct {
		uint64_t start, end; /* tracee addresses, of whole pages */
	} list[SEGMENTS_MAX];
};

enum segments_hold {
	SEGMENTS_NOTHING,
	SEGMENTS_PART,
	SEGMENTS_ALL,
};

/*
 * Read the PT_LOAD headers of the position-independent program that is open at EXE_FD and has its entry point at
 * ENTRY_ADDR, on base pages of PAGE_BYTES. Returns 0, or -1 with ERR word "file-misaligned": it is not one, so it stays
 * where it is; or "rebase-refused": its headers make no sense.
 */
int segments_read(int exe_fd, uint64_t entry_addr, uint64_t page_bytes, struct segments *out, struct error *err);

/* Pure: how much of MAPPING lies in the segments. */
enum segments_hold segments_hold(const struct segments *segments, const struct mapping *mapping);
