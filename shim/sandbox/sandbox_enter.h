/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_enter.h - a reader's side: what a process that reads a stranger's bytes does before it looks at them.
 *
 * It was started by sandbox_spawn.c with the bytes on one descriptor, a pipe for its answer on the next and nothing
 * else. It gives up every right that it can (nobody, no new privileges, small limits, a filter that kills at the first
 * call outside of reading, memory and the answer) and dies with its parent. Its memory is bounded, so bytes that
 * promise millions of entries end in a failed allocation there and nowhere else.
 */
#pragma once

#include <stdint.h>

#include "sandbox/sandbox_spawn.h"

enum { READER_EXIT_NOT_LOCKED = 3 };

/*
 * Lock this process up, with MEMORY_BYTES of address space, for the parent whose pid is PARENT in decimal. Exits with
 * READER_EXIT_NOT_LOCKED if that is refused, or if the parent is another one.
 */
void sandbox_enter(const char *parent, uint64_t memory_bytes);

/* The same for one that is sent files over READER_ANSWER_FD, a socket: one at a time, each as READER_SENT_FD. */
void sandbox_enter_for_files(const char *parent, uint64_t memory_bytes);

/* For the tests of the filter: do what it forbids ("open", "socket", ...), and say so by surviving. */
void reader_misbehave(const char *how);
