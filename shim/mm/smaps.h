/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smaps.h - the lines of /proc/PID/maps and /proc/PID/smaps, one mapping at a time. No I/O.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* One mapping. The byte counts are 0 if the text has none (a maps file has no counts at all). */
struct smaps_entry {
	uint64_t start, end;
	char perms[5]; /* "r-xp" */
	uint64_t file_off;
	unsigned dev_major, dev_minor;
	uint64_t inode;
	uint64_t rss_bytes, pss_bytes;
	uint64_t shared_clean_bytes, shared_dirty_bytes, private_dirty_bytes; /* shared: somebody else maps it too */
	uint64_t anonymous_bytes; /* Anonymous: private copies of what the file says */
	uint64_t file_pmd_bytes;  /* FilePmdMapped */
	uint64_t shmem_pmd_bytes; /* ShmemPmdMapped */
	uint64_t anon_huge_bytes; /* AnonHugePages */
	uint64_t private_hugetlb_bytes, shared_hugetlb_bytes;
	bool sealed;         /* VmFlags: sl. By mseal(2), Linux 6.10 */
	bool guarded;        /* VmFlags: bt. Indirect branches to it must lead to landing pads (arm64's BTI) */
	char path[PATH_MAX]; /* as the kernel shows it, with "\012" turned back into a newline; "" if there is none */
};

/* Where reading goes on. The text is borrowed. */
struct smaps_cursor {
	const char *at;
};

struct smaps_cursor smaps_cursor(const char *text);

/* The next mapping into OUT. Returns 1; 0 at the end of the text; -1 if a line is no mapping (the cursor stays
 * there). */
int smaps_next(struct smaps_cursor *cursor, struct smaps_entry *out);
