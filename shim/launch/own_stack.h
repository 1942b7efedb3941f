/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_stack.h - a stack for hugexec itself, and for the tracer that is cloned from it.
 *
 * RLIMIT_STACK is the target's, and may leave less than a policy's reader and a tracer need. It is about the main
 * thread's stack only.
 */
#pragma once

/*
 * Call WORK(CONTEXT) on a stack of its own, with a page below it that nobody may touch. If there is no memory for
 * one, on the caller's. Returns what WORK does.
 */
int own_stack_call(int (*work)(void *context), void *context);
