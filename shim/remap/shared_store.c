/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/shared_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pages.h"

#define NS_A_SECOND 1000000000LL

_Static_assert(sizeof(struct shared_index) <= SHARED_INDEX_BYTES, "the index has room");
_Static_assert(sizeof SHARED_MAGIC - 1 == sizeof((struct shared_index *)0)->magic, "the magic has its length");

int shared_key_of(int fd, struct shared_key *key)
{
	struct stat st;
	*key = (struct shared_key){0};
	if (fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return -1;
	}
	*key = (struct shared_key){.device = st.st_dev,
	                           .inode = st.st_ino,
	                           .bytes = (uint64_t)st.st_size,
	                           .mtime_ns = st.st_mtim.tv_sec * NS_A_SECOND + st.st_mtim.tv_nsec,
	                           .ctime_ns = st.st_ctim.tv_sec * NS_A_SECOND + st.st_ctim.tv_nsec};
	return 0;
}

void shared_name(const struct shared_key *key, char name[SHARED_NAME_BYTES])
{
	snprintf(name, SHARED_NAME_BYTES, "%" PRIx64 "-%" PRIx64, key->device, key->inode);
}

/* Whether nobody but root can change it. In a user namespace root's files may be nobody's. */
static bool is_roots_alone(const struct stat *st)
{
	return st->st_uid == 0 && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int refuse_folder(const char *path, size_t length, struct error *err)
{
	return error_set(err, REASON_SHARED_COPY, "%.*s is not a folder of root's that nobody else may write to",
	                 length ? (int)length : 1, path);
}

int shared_folder_open(struct error *err)
{
	static const char path[] = SHARED_FOLDER;
	struct stat st;
	cleanup_close int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t at = 0;;) {
		if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
			return refuse_folder(path, at, err);
		if (fd < 0)
			return errno == ENOENT || errno == EACCES
			           ? -1
			           : error_set_errno(err, errno, REASON_SHARED_COPY, "%s", path);
		if (fstat(fd, &st) < 0 || !is_roots_alone(&st))
			return refuse_folder(path, at, err);
		if (path[at] == '\0')
			return openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		char name[NAME_MAX + 1];
		size_t length = strcspn(path + at + 1, "/");
		snprintf(name, sizeof name, "%.*s", (int)length, path + at + 1);
		int below = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int failed = errno;
		close(fd);
		fd = below;
		errno = failed;
		at += 1 + length;
	}
}

/* Whether what root has written is whole, and from a hugexec like this one. */
static bool is_sound(const struct shared_copy *copy)
{
	const struct shared_index *index = &copy->index;
	uint64_t bytes = 0, huge_bytes = host_pages()->huge_bytes;
	if (memcmp(index->magic, SHARED_MAGIC, sizeof index->magic) != 0 || index->huge_bytes != huge_bytes ||
	    index->range_count > PLAN_RANGES_MAX || index->piece_count > PLAN_PIECES_MAX ||
	    index->path[sizeof index->path - 1] != '\0')
		return false;
	for (uint64_t i = 0; i < index->range_count; i++) {
		uint64_t start = index->ranges[i].start, end = index->ranges[i].end;
		if (start % huge_bytes || end % huge_bytes || end <= start || end - start > INT64_MAX - bytes)
			return false;
		bytes += end - start;
	}
	return bytes == index->copy_bytes && (uint64_t)copy->st.st_size == bytes + SHARED_INDEX_BYTES;
}

int shared_copy_open(int folder_fd, const char *name, struct shared_copy *out, struct error *err)
{
	snprintf(out->path, sizeof out->path, "%s/%s", SHARED_FOLDER, name);
	cleanup_close int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == EACCES))
		return -1;
	if (fd < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "%s", out->path);
	if (fstat(fd, &out->st) < 0 || !S_ISREG(out->st.st_mode) || !is_roots_alone(&out->st))
		return error_set(err, REASON_SHARED_COPY, "%s is not a file of root's that nobody else may write to",
		                 out->path);
	if (out->st.st_size < SHARED_INDEX_BYTES ||
	    pread(fd, &out->index, sizeof out->index, out->st.st_size - SHARED_INDEX_BYTES) != sizeof out->index ||
	    !is_sound(out))
		return error_set(err, REASON_SHARED_COPY,
		                 "%s is not whole, or of another version: run hugexecctl warm --share anew", out->path);
	out->fd = steal_fd(&fd);
	return 0;
}

int shared_store_find(const struct shared_key *key, struct shared_copy *out, struct error *err)
{
	char name[SHARED_NAME_BYTES];
	cleanup_close int folder_fd = shared_folder_open(err);
	shared_name(key, name);
	if (folder_fd < 0 || shared_copy_open(folder_fd, name, out, err) < 0)
		return -1;
	if (memcmp(&out->index.key, key, sizeof *key) == 0)
		return 0;
	close(out->fd);
	return error_set(err, REASON_SHARED_COPY,
	                 "%s is of what the file was before it changed: run hugexecctl warm --share anew", out->path);
}

/* The end of what INDEX has at ADDR in step with the file offset FILE_OFF: ADDR if nothing. */
static uint64_t same_up_to(const struct shared_index *index, uint64_t addr, uint64_t file_off)
{
	for (uint64_t i = 0; i < index->piece_count; i++) {
		if (addr >= index->pieces[i].start && addr < index->pieces[i].end &&
		    index->pieces[i].file_off + (addr - index->pieces[i].start) == file_off)
			return index->pieces[i].end;
	}
	return addr;
}

/* Whether the slot at START of PLAN's RANGE, BIAS above its addresses in INDEX, has the same bytes there. */
static bool slot_is_same(const struct shared_index *index, const struct plan *plan, const struct plan_range *range,
                         uint64_t start, uint64_t bias)
{
	uint64_t end = start + plan->page_bytes, in_plan = 0, in_index = 0;
	for (unsigned i = 0; i < range->piece_count; i++) {
		const struct plan_piece *piece = &plan->pieces[range->first_piece + i];
		uint64_t from = piece->start > start ? piece->start : start;
		uint64_t to = piece->end < end ? piece->end : end;
		if (from >= to)
			continue;
		in_plan += to - from;
		if (piece->in_memory ||
		    same_up_to(index, from - bias, piece->file_off + (from - piece->start)) < to - bias)
			return false;
	}
	for (uint64_t i = 0; i < index->piece_count; i++) {
		uint64_t from = index->pieces[i].start > start - bias ? index->pieces[i].start : start - bias;
		uint64_t to = index->pieces[i].end < end - bias ? index->pieces[i].end : end - bias;
		in_index += to > from ? to - from : 0;
	}
	return in_plan > 0 && in_plan == in_index;
}

/* Where the slot at ADDR of INDEX is in the copy; -1: it is not there. */
static int64_t slot_offset(const struct shared_index *index, uint64_t addr)
{
	uint64_t copy_off = 0;
	for (uint64_t i = 0; i < index->range_count; i++) {
		if (addr >= index->ranges[i].start && addr < index->ranges[i].end)
			return (int64_t)(copy_off + (addr - index->ranges[i].start));
		copy_off += index->ranges[i].end - index->ranges[i].start;
	}
	return -1;
}

static void add_slot(struct plan *mapped, uint64_t start, uint64_t copy_off)
{
	uint64_t end = start + mapped->page_bytes;
	struct plan_range *last = mapped->range_count ? &mapped->ranges[mapped->range_count - 1] : NULL;
	struct plan_piece *piece = mapped->piece_count ? &mapped->pieces[mapped->piece_count - 1] : NULL;
	if (last && piece && last->end == start && piece->file_off + (start - piece->start) == copy_off) {
		last->end = piece->end = end;
	} else if (mapped->range_count < PLAN_RANGES_MAX) {
		mapped->pieces[mapped->piece_count] =
		    (struct plan_piece){.start = start, .end = end, .file_off = copy_off};
		mapped->ranges[mapped->range_count++] = (struct plan_range){start, end, mapped->piece_count++, 1};
	} else {
		return;
	}
	mapped->range_bytes += mapped->page_bytes;
}

static void match_at(const struct shared_index *index, const struct plan *plan, uint64_t bias, struct plan *mapped)
{
	*mapped = (struct plan){.page_bytes = plan->page_bytes, .map_index = plan->map_index};
	for (unsigned r = 0; r < plan->range_count; r++) {
		const struct plan_range *range = &plan->ranges[r];
		for (uint64_t at = range->start; at < range->end; at += plan->page_bytes) {
			int64_t copy_off = slot_offset(index, at - bias);
			if (copy_off >= 0 && slot_is_same(index, plan, range, at, bias))
				add_slot(mapped, at, (uint64_t)copy_off);
		}
	}
}

/*
 * The object may have been loaded anywhere. Where, each piece of the index tells that has what the last piece of the
 * plan has: a page of the file may stand at the end of one segment and at the beginning of the next.
 */
void shared_copy_match(const struct shared_index *index, const struct plan *plan, struct plan *mapped)
{
	struct plan best = {.page_bytes = plan->page_bytes};
	const struct plan_piece *piece = plan->piece_count ? &plan->pieces[plan->piece_count - 1] : NULL;
	for (uint64_t i = 0; piece && i < index->piece_count && i < PLAN_PIECES_MAX; i++) {
		uint64_t bytes = index->pieces[i].end - index->pieces[i].start;
		if (piece->file_off < index->pieces[i].file_off || piece->file_off - index->pieces[i].file_off >= bytes)
			continue;
		uint64_t addr = index->pieces[i].start + (piece->file_off - index->pieces[i].file_off);
		uint64_t bias = piece->start - addr;
		if (bias % plan->page_bytes)
			continue;
		match_at(index, plan, bias, mapped);
		if (mapped->range_bytes > best.range_bytes)
			best = *mapped;
	}
	*mapped = best;
}

bool shared_has_path(const char *path)
{
	return strncmp(path, SHARED_FOLDER "/", sizeof SHARED_FOLDER) == 0;
}
