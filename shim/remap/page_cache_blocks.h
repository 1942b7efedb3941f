/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_cache_blocks.h - the slots of a file, each of the size of a huge page, in the page cache: which are huge, which
 * are in use, and the three ways to change that. page_cache.c decides what is done in which order.
 *
 * Our own mappings of the file are never read by a plain load: a file that somebody truncates would be a SIGBUS. Pages
 * are touched by MADV_POPULATE_READ, which returns an error instead (madvise(2), Linux 5.14).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/pages.h"

/* A part of a file: offset and length are multiples of a huge page. */
struct file_range {
	uint64_t file_off, bytes;
};

#define PAGE_CACHE_SLOTS_MAX 2048 /* of huge pages of 2 MiB these are 4 GiB of text */

enum slot_state {
	SLOT_SMALL, /* in small folios that could be dropped, or not in the cache at all, or not looked at yet */
	SLOT_HUGE,  /* one folio, mapped by one entry */
	SLOT_DIRTY, /* some of its small folios are to be written to the disk, and nobody maps them */
	SLOT_BUSY,  /* some of its small folios are mapped by another process, or dirty for good */
	SLOT_SHORT, /* the file ends inside it */
};

struct slot {
	uint64_t file_off;
	enum slot_state state;
};

/* So many are mapped at a time at most, so that looking at a large file does not make us large. */
#define SLOTS_BATCH 4

struct slots {
	int fd;
	struct page_sizes pages;
	int pagemap_fd;    /* of this process: a child opens its own */
	bool sees_cache;   /* may ask which pages of the file are in the cache; to others mincore(2) says "all" */
	unsigned count;    /* of LIST */
	struct slot *list; /* borrowed */
	char *reserve;     /* address space ... */
	char *window;      /* ... and the part of it that is aligned to a slot */
};

/*
 * Pure: write the slots of HUGE_BYTES of the COUNT ranges into LIST (room for PAGE_CACHE_SLOTS_MAX), those that do not
 * lie within FILE_BYTES as SLOT_SHORT. Returns their number, or -1 with ERR if there are none, too many, or a range
 * is not aligned.
 */
int slots_of_ranges(const struct file_range *ranges, unsigned count, uint64_t file_bytes, uint64_t huge_bytes,
                    struct slot *list, struct error *err);

/*
 * Get ready to look at COUNT slots in LIST of the file open at FD (both borrowed), in this process.
 * Returns 0, or -1 with ERR; slots_close() either way.
 */
int slots_open(struct slots *slots, int fd, struct slot *list, unsigned count, struct error *err);
void slots_close(struct slots *slots);

/* After a fork, in the child: have it look at its own page tables. */
void slots_reopen(struct slots *slots);

unsigned slots_count(const struct slots *slots, enum slot_state state);

/*
 * See whether slot INDEX is huge: if its first page is in the cache touch it, and if it is part of a huge folio
 * the fault maps all of it. Sets the state to SLOT_HUGE, or leaves it. If not sees_cache it may wait for a disk,
 * which then reads the slot as slot_read() does.
 */
void slot_look(struct slots *slots, unsigned index);

/* The same for all slots that are SLOT_SMALL so far. */
void slots_look(struct slots *slots);

/*
 * See what the COUNT slots at INDEXES (SLOTS_BATCH at most) are, and set their state: SLOT_HUGE, SLOT_BUSY, SLOT_DIRTY,
 * SLOT_SMALL.
 * All that is cached is mapped for that. May wait for a disk if not sees_cache: then all is read, as slot_read()
 * does.
 */
void slots_survey(struct slots *slots, const unsigned *indexes, unsigned count);

/*
 * MADV_COLLAPSE: have the kernel copy the slot into a huge folio, whoever maps it, and from Linux 7.2 on write what is
 * dirty of it first. Returns 0, or the errno: EAGAIN if it may do so a moment later. May wait for a disk.
 */
int slot_collapse(struct slots *slots, unsigned index);

/*
 * Drop the clean and unmapped pages of the slot from the cache; no others (posix_fadvise(2): POSIX_FADV_DONTNEED).
 * Begins to write dirty ones to the disk, through overlayfs too, so it is for slots that were surveyed and are not
 * busy.
 */
void slot_drop(struct slots *slots, unsigned index);

/* Whether some of the slot is in the cache. Only if sees_cache. */
bool slot_is_cached(struct slots *slots, unsigned index);

/* Have the slot read as for a mapping that wants huge pages. Waits for the disk. */
void slot_read(struct slots *slots, unsigned index);
