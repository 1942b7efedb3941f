/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private_copy.h - carry a plan out on a stopped tracee, or leave the tracee as it was.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"

/*
 * Put the ranges of PLAN on huge pages that are a sealed private copy of the text.
 *
 *   tracee (borrowed)  memfd_create, mmap aside: address space only, read+exec, private; close
 *   tracer             allocate (a foreign tracee has done so itself before it closed), fill from TEXT_FD, seal
 *   tracee (borrowed)  MADV_POPULATE_READ aside; mremap over the text, a call per range
 *
 * If the kernel cannot move the mapping (hugetlb before Linux 5.16) the tracee keeps the memfd open and maps it over
 * the text instead. If it does that, or cannot keep the mapping aside from children (hugetlb from 7.2), all its
 * threads stand from the first step to the last.
 *
 * All that can be refused is asked for before the first mremap. A tracer that is killed while it fills leaves nothing
 * in the tracee but an unused stretch of address space, and the memfd if the tracee keeps it.
 *
 * TRACEE: STOPPED before and after, or GONE. SPACE: of the tracee as it is now. TEXT_FD: the object's file, readable.
 * BACKING: BACKING_HUGETLB or BACKING_THP. Returns 0; -1 with ERR: the tracee's memory is as before, or it is GONE
 * (killed if a switch that had begun could not be finished: wrong text never runs).
 */
int remap_copy(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
               const struct settings *settings, enum backing backing, int text_fd, struct error *err);

/*
 * The smaps of PID up to END_ADDR, or a bit more, in a fresh string (free() it); NULL if it cannot be read. The
 * kernel counts each page of what it tells, with the process's mappings locked: seconds for a heap of hundreds of GiB.
 */
char *remap_read_smaps(pid_t pid, uint64_t end_addr);

/*
 * PROT_* of mmap(2) for what is to stand where PID has text at [START, END): reading, executing, and that it can be
 * branched to at landing pads only (arm64's BTI, which the kernel sets for a static program at exec, and ld.so for all
 * that it has mapped): /proc/PID/maps does not tell of that, and a new mapping would lose it.
 */
int text_prot(pid_t pid, uint64_t start, uint64_t end);

/*
 * Bytes of text in [START, END) that are on huge pages, as SMAPS (the text of a smaps file; NULL: nothing is known)
 * says; by which backing in *HOW (may be NULL; untouched if there are none).
 */
uint64_t remap_huge_bytes(const char *smaps, uint64_t start, uint64_t end, enum backing *how);

/* The same of text that is a private copy: what it costs each process. */
uint64_t remap_copied_bytes(const char *smaps, uint64_t start, uint64_t end);
