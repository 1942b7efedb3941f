/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share.h - make, and take away, the copies of libraries' text that all processes share (remap/shared_store.h).
 *
 * A copy must be what its key says, for every process to come, so it is only made of a file that nobody can change
 * without a trace: one that nobody has open for writing (fcntl(2), F_SETLEASE), because a write through an old shared
 * mapping may leave the times alone; not on a tmpfs, where one through any shared mapping does; whose last change is
 * some seconds ago, because those times have a grain; and on a filesystem that is not mounted "nosuid", because what
 * the kernel trusts with set-uid programs only root can make up, with the numbers and times in it. Whoever may not read
 * the file may not read its copy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sandbox/elf/elf_client.h"

struct shared_made {
	bool is_wanted;      /* the library has text that a copy could have */
	uint64_t copy_bytes; /* on disk, and as far as HUGE_BYTES in huge pages of the page cache; 0: there is none */
	uint64_t huge_bytes;
	struct error reason; /* set: why not all */
};

/*
 * Have a copy for the library at PATH with the headers ELF, unless there is one already, and have the page cache hold
 * it. Never fails: OUT says what became of it. Killed at any moment it leaves no part of a copy: it gets its name last.
 */
void share_make(const char *path, const struct elf_info *elf, struct shared_made *out);

struct shared_usage {
	unsigned count, removed;
	uint64_t bytes; /* of those that are left */
	struct error reason;
};

/* Remove the copies of files that have changed or gone; or ALL of them. What cannot be looked at stays. */
void share_sweep(bool all, struct shared_usage *out);
