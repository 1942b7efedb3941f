/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relocate.h - move a position-independent program, at the exec stop, to where file offset and address of its text
 * agree modulo 2 MiB.
 *
 * A PIE is loaded at a random 4 KiB-aligned base, so that huge folios of the page cache could almost never be mapped by
 * one entry. At the exec stop nothing of it has run and ld.so has relocated nothing, so its mappings can stand
 * elsewhere: what is read-only is mapped afresh from the file (an mremap raises no event for perf and uprobes), which
 * the tracee gets from us and opens by no name (tracee_files.h); data and bss, which the kernel has zeroed in part, are
 * moved. Then all that tells where the program is is put right:
 * AT_PHDR and AT_ENTRY on the stack, the kernel's own copy of them and its code and data addresses
 * (prctl(PR_SET_MM_MAP), for gdb and /proc/PID/stat), and the program counter of a program without ELF interpreter. The
 * new base is random: as many 2 MiB steps as fit the range that arch/ has for it, 24 bits where there is room.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "mm/maps.h"
#include "ptrace/tracee.h"

/*
 * Whether the main program of SPACE can be moved by PHASE: ET_DYN, not under personality(ADDR_NO_RANDOMIZE), and none
 * of its segments asks for an alignment that it would lose. EXE_FD: its file. Returns 0, or -1 with ERR word
 * "rebase-refused", or "file-misaligned" (it is not ET_DYN).
 */
int relocate_check(const struct tracee *tracee, const struct address_space *space, int exe_fd, uint64_t phase,
                   struct error *err);

/* By how much (modulo HUGE_BYTES) the text mapping TEXT would have to move for offset and address to agree. 0: it does
 * not.
 */
uint64_t relocate_phase(const struct mapping *text, uint64_t huge_bytes);

/*
 * Move the main program by PHASE plus a random multiple of 2 MiB.
 * TRACEE: STOPPED at the exit of execve; STOPPED afterwards, or GONE. SPACE: as it is now; read it anew afterwards.
 * EXE_FD: the file that it is mapped from (mapped_file_open()).
 * Returns 0; -1 with ERR and everything as it was, or the tracee GONE (killed if undoing failed too).
 */
int relocate(struct tracee *tracee, const struct address_space *space, int exe_fd, uint64_t phase, struct error *err);
