/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_ranges.h - which object an instruction of a process belongs to. No I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file with text, with hugexec's copies of it; or all memory that JIT compilers have filled. */
struct code_object {
	char *path; /* without the kernel's remark that it was deleted; "" for JIT memory */
	unsigned dev_major, dev_minor;
	uint64_t inode;
	bool is_jit;
};

#define CODE_OBJECTS_MAX 1024

struct code_objects {
	struct code_object *list; /* CODE_OBJECTS_MAX at most; what is beyond is not told apart */
	size_t count;
};

void code_objects_free(struct code_objects *objects);

struct exec_range {
	uint64_t start, end; /* addresses of the process */
	uint64_t file_off;   /* of START; of JIT memory START itself */
	unsigned object;
	uint64_t rss_bytes, huge_bytes; /* resident; on huge pages. Known from a smaps file only */
};

struct exec_ranges {
	struct exec_range *list; /* by address */
	size_t count;
};

/*
 * From the text of a maps or smaps file; what has not been seen before is added to OBJECTS. Returns 0
 * (exec_ranges_free() it); -1 if MAPS is none or memory is short, then *OUT is empty.
 */
int exec_ranges_read(const char *maps, struct code_objects *objects, struct exec_ranges *out);

/* The range that IP is in; NULL: none. */
const struct exec_range *exec_ranges_find(const struct exec_ranges *ranges, uint64_t ip);

void exec_ranges_free(struct exec_ranges *ranges);
