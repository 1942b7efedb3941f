/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_heap.h - a heap on ordinary pages for hugexec itself, whatever GLIBC_TUNABLES asks of the command.
 *
 * With glibc.malloc.hugetlb=2 (glibc 2.35) the heap is private hugetlb memory. A tracer that is cloned from such a
 * process takes another huge page at its first write, and if the pool has none it ends by SIGBUS. The setting is
 * read when a program starts and cannot be changed afterwards, so hugexec starts once more without it.
 */
#pragma once

/*
 * To be called first in main(), before anything is allocated. If GLIBC_TUNABLES has glibc.malloc.hugetlb, executes
 * this program anew with the variable under another name of the same length. If that has been done, or cannot be
 * done (no /proc), gives the variable its name back and returns: environ is, to the byte and in its order, what the
 * caller was given.
 */
void plain_heap_begin(char **argv);
