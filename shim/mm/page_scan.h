/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_scan.h - what is true of the pages of a range, in one call whatever its length: ioctl(PAGEMAP_SCAN) of a
 * /proc/PID/pagemap (Linux 6.7). It goes by whole page table entries: 62 MiB on huge pages take it 1 microsecond, and
 * smaps, which counts each small page of a huge one, 130.
 */
#pragma once

#include <stdint.h>

/*
 * How many bytes between START and END are mapped by entries for huge pages. Returns -1 with errno if that cannot
 * be told (ENOTTY: an older kernel).
 */
int64_t page_scan_huge_bytes(int pagemap_fd, uint64_t start, uint64_t end);

/*
 * Whether there are private pages, in memory or swapped out, between START and END: 1 or 0; -1 with errno if that
 * cannot be told.
 */
int page_scan_private(int pagemap_fd, uint64_t start, uint64_t end);
