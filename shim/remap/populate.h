/* SPDX-License-Identifier: Apache-2.0 */
/*
 * populate.h - have pages of a tracee mapped now, so that no fault on them can fail later.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ptrace/tracee.h"

/*
 * Whether this kernel knows the ADVICE of madvise(2). A range without a page is checked for nothing else (mm/madvise.c,
 * Linux 5.10 and 7.2).
 */
bool populate_knows_advice(int advice);

/*
 * Have the BYTES at TRACEE_ADDR, pages of PAGE_BYTES, mapped for reading. TRACEE: INJECTING. Memory that this takes is
 * charged to the tracee's cgroup.
 *
 * By MADV_POPULATE_READ, which the tracee calls, and before Linux 5.14 by reading a byte of each page from here: the
 * kernel then maps it for the tracee as a fault of its own would (get_user_pages_remote()), but has an error to return
 * if that fault would be a SIGBUS.
 *
 * Returns 0, -errno of what failed, or INT64_MIN with ERR if the tracee is GONE.
 */
int64_t populate_read(struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t page_bytes,
                      struct error *err);
