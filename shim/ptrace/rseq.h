/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rseq.h - what a thread that runs may have agreed on with the kernel, and calls made in its place would upset.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "ptrace/tracee.h"

/*
 * Whether the kernel would let the stopped thread TID make our calls: with Syscall User Dispatch (Linux 5.11) it sends
 * SIGSYS for them, which is the process's end while signals are blocked. Returns 0, or -1 with ERR word
 * "syscall-dispatch". Before Linux 6.4 nobody can tell: 0.
 */
int tracee_check_dispatch(pid_t tid, struct error *err);

/* A restartable sequence that a thread is in the middle of (rseq(2)). */
struct rseq_section {
	uint64_t abort_addr; /* where it goes on when it was interrupted; 0: it is in none */
	uint64_t field_addr; /* of struct rseq's rseq_cs, which is to be 0 then */
};

/*
 * Into OUT the sequence that TRACEE, stopped at PC, is in. While it makes our calls the kernel finds it outside of the
 * sequence and forgets about it, so that it would go on in the middle as if nobody had run meanwhile. Linux 5.13;
 * before it cannot be told.
 */
void rseq_find(const struct tracee *tracee, uint64_t pc, struct rseq_section *out);
