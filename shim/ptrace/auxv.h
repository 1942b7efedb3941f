/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auxv.h - the auxiliary vector that the kernel laid on a new program's stack, and what says the same elsewhere.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ptrace/tracee.h"

#define AUXV_WORDS_MAX 128

struct auxv {
	uint64_t tracee_addr; /* of the first word, on the stack */
	unsigned word_count;  /* AT_NULL included */
	uint64_t words[AUXV_WORDS_MAX];
};

/*
 * Find the vector of a program that has not run yet: behind argv and envp, from the stack pointer on; checked against
 * the kernel's copy. TRACEE: INJECTING. Returns 0, or -1 with ERR word "rebase-refused".
 */
int auxv_find(struct tracee *tracee, struct auxv *out, struct error *err);

/*
 * Add DELTA to all that points into the program: AT_PHDR and AT_ENTRY on the stack, and by prctl(PR_SET_MM_MAP) the
 * kernel's copy of the vector and its start and end of code and data. SCRATCH_ADDR: 512 writable bytes in the tracee.
 * PR_SET_MM_MAP asks for no privilege, but for CONFIG_CHECKPOINT_RESTORE (prctl(2), since Linux 3.18).
 * TRACEE: INJECTING. Returns 0, or -1 with ERR and nothing changed (or the tracee GONE).
 */
int auxv_move(struct tracee *tracee, struct auxv *auxv, uint64_t delta, uint64_t scratch_addr, struct error *err);

/* Pure: the length of the vector in the COUNT words at WORDS, AT_NULL included; 0 if it does not end in them. */
unsigned auxv_word_count(const uint64_t *words, size_t count);
