/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_store.h - copies of text on disk that all processes share: the folder, and what a copy must be to be used.
 *
 * Text that is out of step with its file cannot be on huge pages of that file. "hugexecctl warm --share" writes it to a
 * file of its own, in step (ctl/share.h), whose page cache every launch maps instead of a private copy. Only root
 * writes there. A copy is used if it, its folder and all folders above are root's and nobody else may write to them,
 * and if it says that it was made of the very file that is mapped, as that is now: device, inode, size, and the times
 * of change, of which no user can set the last (ctime). Its name is only where to look.
 *
 * A copy has whole slots of a huge page, and behind them an index: what stands in which slot.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "config.h"
#include "remap/plan.h"

#define SHARED_FOLDER      HUGEXEC_CACHEDIR
#define SHARED_MAGIC       "hugexec shared 1" /* sixteen bytes */
#define SHARED_INDEX_BYTES 8192
#define SHARED_NAME_BYTES  48

/* Which file, in which state. */
struct shared_key {
	uint64_t device, inode, bytes;
	int64_t mtime_ns, ctime_ns;
};

/* At the end of a copy, in the processor's byte order. Addresses are the object's, loaded where the plan has put it. */
struct shared_index {
	char magic[16];
	struct shared_key key;
	uint64_t huge_bytes, copy_bytes; /* of a slot, and of all slots */
	uint64_t range_count, piece_count;
	struct {
		uint64_t start, end; /* whole slots, which follow one another in the copy */
	} ranges[PLAN_RANGES_MAX];
	struct {
		uint64_t start, end, file_off;
	} pieces[PLAN_PIECES_MAX];
	char path[PATH_MAX]; /* of the file, when the copy was made */
};

struct shared_copy {
	int fd;
	struct stat st;
	char path[sizeof SHARED_FOLDER + SHARED_NAME_BYTES];
	struct shared_index index;
};

/* The key of the file open at FD. Returns 0, or -1 with errno (EINVAL: no plain file). */
int shared_key_of(int fd, struct shared_key *key);

void shared_name(const struct shared_key *key, char name[SHARED_NAME_BYTES]);

/*
 * Open the folder, as we see it: without links, root's from the top down. Returns a descriptor to read it by; or -1,
 * and ERR is set unless there is none.
 */
int shared_folder_open(struct error *err);

/* Open what stands as NAME in the folder, for any key. Returns 0 (close OUT's fd); or -1 as shared_folder_open(). */
int shared_copy_open(int folder_fd, const char *name, struct shared_copy *out, struct error *err);

/* Open the copy for KEY. Returns as shared_copy_open(). */
int shared_store_find(const struct shared_key *key, struct shared_copy *out, struct error *err);

/*
 * Which slots of PLAN (plan_shared()), wherever the object was loaded, COPY has: MAPPED gets ranges of them with a
 * piece each, whose file_off is in the copy. Pure.
 */
void shared_copy_match(const struct shared_index *index, const struct plan *plan, struct plan *mapped);

/* Whether PATH, of a mapping, is that of a copy in the folder. */
bool shared_has_path(const char *path);
