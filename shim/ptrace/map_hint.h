/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_hint.h - have ld.so map large libraries at addresses that agree with their offsets in the file modulo 2 MiB.
 *
 * ext4, xfs, btrfs and tmpfs see to that by themselves for mappings of 2 MiB and more, overlayfs does not (Linux 6.18):
 * in a container no library could be mapped by huge pages of the page cache. ld.so maps all of a library at once,
 * anywhere (mmap(NULL, all of it, ..., MAP_PRIVATE)), then its segments inside of that. So its system calls are
 * watched, and at the entry of such a call the NULL becomes a hint. A hint binds nobody: the kernel puts the mapping
 * elsewhere if there is no room. The register is put back at the exit; between the two PTRACE_O_EXITKILL is set, as
 * whenever registers are borrowed.
 *
 * Only calls that the tracee makes itself are changed, and only in where their result may lie. The calls of
 * constructors and of the program are not watched: that ends with the first call from outside of ld.so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ptrace/tracee.h"

struct map_hint {
	bool watches;                      /* resume with PTRACE_SYSCALL */
	uint64_t loader_start, loader_end; /* ld.so's mappings in the tracee */
	bool is_changed;                   /* between entry and exit of a call whose first argument was SAVED_ARG */
	uint64_t saved_arg;
};

/*
 * Watch TRACEE's calls if its libraries are known to want it (IS_WANTED), or its ELF interpreter's filesystem, which
 * stands for theirs, aligns nothing. TRACEE: STOPPED at the exit of execve. HINT: watches says what was decided.
 */
void map_hint_begin(const struct tracee *tracee, bool is_wanted, struct map_hint *hint);

/*
 * TRACEE stands at the entry or exit of a system call. When it returns, HINT->watches says how to resume it. The tracee
 * may be GONE (killed if its register could not be put back).
 */
void map_hint_step(struct tracee *tracee, struct map_hint *hint);
