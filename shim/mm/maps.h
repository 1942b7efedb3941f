/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h - what is mapped in a stopped process, as the kernel tells it.
 *
 * Built from /proc/PID/maps and /proc/PID/auxv. All of it is the tracee's word as the kernel passes it on: paths may be
 * anything, ranges are checked to be ordered and page-aligned.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define ADDRESS_SPACE_MAPPINGS_MAX 65536

struct mapping {
	uint64_t start, end; /* tracee addresses */
	uint64_t file_off;   /* bytes; of start */
	int prot;            /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;         /* MAP_SHARED */
	unsigned dev_major, dev_minor;
	uint64_t inode;   /* 0: anonymous */
	bool changed;     /* has pages that are no longer what its file says; only known after private_pages_note() */
	const char *path; /* "" if there is none; "[stack]", "/usr/bin/x (deleted)"; owned by the address space */
};

struct address_space {
	struct mapping *mappings; /* in address order, not overlapping */
	size_t count;
	char *paths;      /* what the paths point into */
	size_t exe_index; /* a mapping of the main program; meaningful only if has_exe */
	bool has_exe;
	uint64_t entry_addr;  /* AT_ENTRY */
	uint64_t phdr_addr;   /* AT_PHDR */
	uint64_t phdr_count;  /* AT_PHNUM */
	uint64_t interp_addr; /* AT_BASE; 0 if no ELF interpreter was mapped */
};

/*
 * Read the address space of PID. Returns 0 (address_space_free() it), or -1 with ERR word "no-proc" (its /proc files
 * cannot be read) or "image" (they make no sense).
 */
int address_space_read(pid_t pid, struct address_space *out, struct error *err);

/* The same from the text of a maps file and the raw words of an auxv: no I/O. */
int address_space_parse(const char *maps, const uint64_t *auxv, size_t auxv_words, uint64_t page_bytes,
                        struct address_space *out, struct error *err);

void address_space_free(struct address_space *space);

/* Index of the mapping that holds TRACEE_ADDR, or -1. */
ssize_t address_space_find(const struct address_space *space, uint64_t tracee_addr);

/* Whether MAPPING is text that may be replaced. */
bool mapping_is_text(const struct mapping *mapping);

/* Whether two mappings are of the same file. */
bool mapping_same_file(const struct mapping *a, const struct mapping *b);

/*
 * A gap of BYTES at an address that is PHASE modulo ALIGN (a power of two), as high as possible below the mapping with
 * index TOP and not touching any; 0 if there is none. No I/O, so ask again after every change of the tracee's
 * mappings.
 */
uint64_t address_space_find_gap(const struct address_space *space, size_t top, uint64_t bytes, uint64_t align,
                                uint64_t phase);
