/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cow_pages.h - text that is no longer what its file says.
 *
 * A page of a private file mapping that somebody has written to (text relocations, RELRO before ld.so made it
 * read-only, a debugger's breakpoint, a uprobe) is an anonymous page from then on, and /proc/PID/pagemap tells these
 * from the file's own (bit 61, "file-page or shared-anon"; Linux 3.5). Unlike smaps it is read for one range only:
 * smaps of a program with a large heap takes long, and holds its mappings locked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mm/maps.h"

/* Whether PID has private pages, in memory or swapped out, between START and END. True if that cannot be told. */
bool private_pages_between(pid_t pid, uint64_t start, uint64_t end);

/* The same by what PAGEMAP_FD, a /proc/PID/pagemap, says of a system with base pages of PAGE_BYTES. */
bool private_pages_in(int pagemap_fd, uint64_t start, uint64_t end, uint64_t page_bytes);

/* Set `changed` in all read-only mappings of the object that MAP_INDEX is a mapping of. */
void private_pages_note(struct address_space *space, size_t map_index, pid_t pid);
