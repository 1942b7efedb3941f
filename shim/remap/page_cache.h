/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_cache.h - have the kernel hold parts of a file in its page cache as huge folios, so that text can be mapped in
 * place by one entry each: no copy, one for all processes, and the mapping is still the file's.
 *
 * What a filesystem and kernel can do is found out by trying, slot by slot, the cheapest first:
 *   as it is      a fault on a slot that is one folio already maps it whole
 *   collapse      MADV_COLLAPSE (CONFIG_READ_ONLY_THP_FOR_FS on 6.1 to 7.1, shmem; large-folio filesystems from 7.2)
 *   read anew     drop the slot's clean, unmapped cache and fault it in through a mapping with MADV_HUGEPAGE, which
 *                 reads whole folios on filesystems that have large ones (xfs from 5.18, erofs from 6.2, ext4
 * from 6.16) None of these asks what /sys/kernel/mm/transparent_hugepage/enabled says; PR_SET_THP_DISABLE forbids all
 * of them.
 *
 * Others are left in peace: a slot that another process maps, or that has dirty pages, is passed over, and nothing of
 * it is dropped or written; but for the kernel's own collapse from 7.2 on, which gives those who map it the huge folio,
 * too, and writes what is dirty to the disk. One slot is read anew first: if that gives no huge folio the rest is
 * left as it is. Then few slots at a time, and none once they might not be back in time: a slow disk costs the workload
 * no more of its cache than that. The file's content is only read.
 *
 * All that may wait for a disk is done by a child, which is killed when the time is over. Nothing is remembered but
 * what the page cache itself is.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "remap/page_cache_blocks.h"

/*
 * Make the COUNT ranges of the file open at FD (read-only is enough) huge in the page cache, holding the caller for
 * TIMEOUT_MS at most if the disk is slow, and a tenth of a second more if it does not even let go of the child.
 *
 * Returns 0 with *HUGE_BYTES: what is on huge folios now. If that is less than asked for, ERR says why:
 *   "file-unsupported"  this filesystem and kernel keep the file in small folios (or no huge folio could be allocated)
 *   "file-busy"         mapped in small pages by another process, or dirty
 *   "file-timeout"      the disk was too slow
 *   "file-short"        the file ends before the range
 *   "memory-limit"      its cgroup or the machine has no memory for what is not in the cache yet; nothing was read
 * -1 with ERR if nothing could be found out: "file-unsupported" for what is no plain file or no aligned range,
 * "address-space-limit", "process-limit". The file is never changed; no mapping, process or open file is left behind,
 * but for a child in the hands of a disk that does not answer: it ends with SIGKILL as soon as it can.
 */
int page_cache_make_huge(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms,
                         uint64_t *huge_bytes, struct error *err);

/* The same by the caller itself, which is one that may be killed when the time is over: no child of ours. */
int page_cache_make_huge_here(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms,
                              uint64_t *huge_bytes, struct error *err);

/* What of whole slots is in the page cache, and how. */
struct page_cache_state {
	uint64_t huge_bytes;
	uint64_t busy_bytes;  /* in small folios that another process maps */
	uint64_t small_bytes; /* in small folios that nobody uses, or not in the cache at all */
	uint64_t short_bytes; /* the file ends before */
};

/*
 * Look at the COUNT ranges of the file open at FD, and change nothing: what is not in the cache is not read, what is
 * there is neither dropped nor written. Returns 0, or -1 with ERR as page_cache_make_huge(), or word "file-hidden": the
 * kernel tells only the file's owner, and who may write to it, what the cache holds.
 */
int page_cache_look(int fd, const struct file_range *ranges, unsigned count, struct page_cache_state *out,
                    struct error *err);
