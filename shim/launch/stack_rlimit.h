/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack_rlimit.h - room on the main thread's stack, for hugexec itself and for the tracer that it clones.
 *
 * The limit is the workload's. A soft one that is too small for us is raised as far as its owner may raise it, and put
 * back before the workload is executed, whose address space the kernel lays out by it. A hard one leaves what there is:
 * who needs more ends by SIGSEGV, so it is asked before.
 */
#pragma once

#include <stdint.h>

#include "base/size.h"

/* Bytes: about twice of what was measured (gcc 12, glibc 2.36: 26 KiB and 96 KiB). */
#define STACK_FOR_POLICY (64 * KIB)  /* to read a policy and to report */
#define STACK_FOR_TRACER (192 * KIB) /* for all that the tracer does */

/* Raise the soft limit where it is below what the tracer needs. */
void stack_make_room(void);

/* The limit as it was. */
void stack_give_back(void);

/* Bytes that the stack may grow by from here on. */
uint64_t stack_room(void);
