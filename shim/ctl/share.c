/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/retry.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/file_view.h"
#include "remap/page_cache.h"
#include "remap/plan_estimate.h"
#include "remap/shared_store.h"

#define CHUNK_BYTES      (1 * MIB)
#define SETTLED_NS       (3 * 1000000000LL) /* a thousand times the grain of a file's times */
#define READ_TIMEOUT_MS  60000              /* nobody waits for us but the boot */
#define COPY_MODE_PUBLIC 0444
#define COPY_MODE_ROOT   0400

/* A copy in the making. */
struct making {
	int source_fd, folder_fd, copy_fd;
	struct shared_key key;
	struct shared_index index;
	char *chunk, *other_chunk;
};

/* A lease can be had of a file that nobody has open for writing, also by a mapping; it is given back at once. */
static int check_unwritten(int fd, struct error *err)
{
	signal(SIGIO, SIG_IGN); /* for who would open it in that moment */
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0 && fcntl(fd, F_SETLEASE, F_UNLCK) == 0)
		return 0;
	if (errno == EAGAIN)
		return error_set(err, REASON_SHARED_COPY, "somebody has the library open for writing");
	if (errno == EACCES)
		return error_set(err, REASON_SHARED_COPY,
		                 "the library is not root's: run hugexecctl warm --share as root, by hand");
	return error_set_errno(err, errno, REASON_SHARED_COPY, "asking who has the library open for writing");
}

static int check_source(const struct making *making, struct error *err)
{
	struct statvfs filesystem;
	struct statfs about;
	struct timespec now;
	if (fstatvfs(making->source_fd, &filesystem) < 0 || fstatfs(making->source_fd, &about) < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "looking at the library's filesystem");
	if (filesystem.f_flag & ST_NOSUID)
		return error_set(
		    err, REASON_SHARED_COPY,
		    "the library's filesystem is mounted nosuid, so that others than root may have made it up");
	if (about.f_type == TMPFS_MAGIC)
		return error_set(err, REASON_SHARED_COPY,
		                 "the library is on a tmpfs, where a write to a mapping leaves no trace");
	if (check_unwritten(making->source_fd, err) < 0)
		return -1;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec * 1000000000LL + now.tv_nsec - making->key.ctime_ns < SETTLED_NS)
		return error_set(err, REASON_SHARED_COPY, "the library was changed a moment ago: try again");
	return 0;
}

/* After what check_source() has seen, a change shows in the key. */
static int check_unchanged(const struct making *making, struct error *err)
{
	struct shared_key key;
	if (shared_key_of(making->source_fd, &key) == 0 && memcmp(&key, &making->key, sizeof key) == 0)
		return check_unwritten(making->source_fd, err);
	return error_set(err, REASON_SHARED_COPY, "the library was changed meanwhile: try again");
}

static void fill_index(const struct plan *plan, struct shared_index *index)
{
	memcpy(index->magic, SHARED_MAGIC, sizeof index->magic);
	index->huge_bytes = plan->page_bytes;
	index->copy_bytes = plan->range_bytes;
	index->range_count = plan->range_count;
	index->piece_count = plan->piece_count;
	for (unsigned i = 0; i < plan->range_count; i++) {
		index->ranges[i].start = plan->ranges[i].start;
		index->ranges[i].end = plan->ranges[i].end;
	}
	for (unsigned i = 0; i < plan->piece_count; i++) {
		index->pieces[i].start = plan->pieces[i].start;
		index->pieces[i].end = plan->pieces[i].end;
		index->pieces[i].file_off = plan->pieces[i].file_off;
	}
}

/* Read BYTES, of which the file may end before the last page does: zeros then, as in a mapping. */
static int read_chunk(int fd, char *chunk, size_t bytes, uint64_t file_off)
{
	memset(chunk, 0, bytes);
	for (size_t got = 0; got < bytes;) {
		ssize_t more = retry(pread(fd, chunk + got, bytes - got, (off_t)(file_off + got)));
		if (more < 0)
			return -1;
		if (more == 0)
			return bytes - got < host_pages()->base_bytes ? 0 : (errno = ENODATA, -1);
		got += (size_t)more;
	}
	return 0;
}

static int write_chunk(int fd, const char *chunk, size_t bytes, uint64_t file_off)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t more = retry(pwrite(fd, chunk + done, bytes - done, (off_t)(file_off + done)));
		if (more < 0)
			return -1;
		done += (size_t)more;
	}
	return 0;
}

/* Copy BYTES, or if WRITES is false see that they are the same. */
static int carry(const struct making *making, uint64_t from_off, uint64_t to_off, uint64_t bytes, bool writes)
{
	for (uint64_t done = 0; done < bytes;) {
		size_t chunk = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES;
		if (read_chunk(making->source_fd, making->chunk, chunk, from_off + done) < 0)
			return -1;
		if (writes && write_chunk(making->copy_fd, making->chunk, chunk, to_off + done) < 0)
			return -1;
		if (!writes && read_chunk(making->copy_fd, making->other_chunk, chunk, to_off + done) < 0)
			return -1;
		if (!writes && memcmp(making->chunk, making->other_chunk, chunk) != 0) {
			errno = EIO;
			return -1;
		}
		done += chunk;
	}
	return 0;
}

static int carry_all(const struct making *making, const struct plan *plan, bool writes)
{
	uint64_t copy_off = 0;
	for (unsigned r = 0; r < plan->range_count; r++) {
		const struct plan_range *range = &plan->ranges[r];
		for (unsigned i = 0; i < range->piece_count; i++) {
			const struct plan_piece *piece = &plan->pieces[range->first_piece + i];
			if (carry(making, piece->file_off, copy_off + (piece->start - range->start),
			          piece->end - piece->start, writes) < 0)
				return -1;
		}
		copy_off += range->end - range->start;
	}
	return 0;
}

/* All of it on the disk, and read from there again. */
static int write_copy(struct making *making, const struct plan *plan, struct error *err)
{
	uint64_t bytes = plan->range_bytes + SHARED_INDEX_BYTES;
	char size[16];
	if (fallocate(making->copy_fd, 0, 0, (off_t)bytes) < 0 || carry_all(making, plan, true) < 0 ||
	    write_chunk(making->copy_fd, (const char *)&making->index, sizeof making->index, plan->range_bytes) < 0 ||
	    fsync(making->copy_fd) < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "writing %s to " SHARED_FOLDER,
		                       size_format(bytes, size, sizeof size));
	fault_point("shared-written");
	posix_fadvise(making->copy_fd, 0, 0, POSIX_FADV_DONTNEED);
	if (carry_all(making, plan, false) < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "comparing the copy with the library");
	return check_unchanged(making, err);
}

/* Whether everybody may read the file of KEY at PATH, a real one. By now PATH may be that of another. */
static bool is_public(const struct shared_key *key, const char *path)
{
	char folder[PATH_MAX];
	struct stat st;
	if (stat(path, &st) < 0 || st.st_dev != key->device || st.st_ino != key->inode || !(st.st_mode & S_IROTH))
		return false;
	snprintf(folder, sizeof folder, "%s", path);
	for (char *slash; (slash = strrchr(folder, '/')) != NULL;) {
		slash[slash == folder] = '\0';
		if (stat(folder, &st) < 0 || !(st.st_mode & S_IXOTH))
			return false;
		if (slash == folder)
			return true;
	}
	return false;
}

static mode_t copy_mode(const struct making *making)
{
	return is_public(&making->key, making->index.path) ? COPY_MODE_PUBLIC : COPY_MODE_ROOT;
}

/* A file gets its name when it is whole; one that is there already is of an older state of the library. */
static int name_copy(const struct making *making, struct error *err)
{
	char name[SHARED_NAME_BYTES], there[64];
	shared_name(&making->key, name);
	snprintf(there, sizeof there, "/proc/self/fd/%d", making->copy_fd);
	if (fchmod(making->copy_fd, copy_mode(making)) < 0 ||
	    (unlinkat(making->folder_fd, name, 0) < 0 && errno != ENOENT) ||
	    linkat(AT_FDCWD, there, making->folder_fd, name, AT_SYMLINK_FOLLOW) < 0 || fsync(making->folder_fd) < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "naming the copy in " SHARED_FOLDER);
	return 0;
}

static int open_folder(struct making *making, struct error *err)
{
	if (mkdir(SHARED_FOLDER, 0755) == 0 && chmod(SHARED_FOLDER, 0755) < 0) /* whatever the umask is */
		return error_set_errno(err, errno, REASON_SHARED_COPY, "making " SHARED_FOLDER);
	int failed = errno;
	making->folder_fd = shared_folder_open(err);
	if (making->folder_fd >= 0 || error_is_set(err))
		return making->folder_fd < 0 ? -1 : 0;
	return error_set_errno(err, failed, REASON_SHARED_COPY, "making " SHARED_FOLDER);
}

static int make_copy(struct making *making, const struct plan *plan, struct error *err)
{
	if (check_source(making, err) < 0)
		return -1;
	cleanup_free char *chunk = malloc(2 * CHUNK_BYTES);
	if (!chunk)
		return error_set_errno(err, ENOMEM, REASON_SHARED_COPY, "copying");
	making->chunk = chunk;
	making->other_chunk = chunk + CHUNK_BYTES;
	making->copy_fd = openat(making->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, COPY_MODE_ROOT);
	if (making->copy_fd < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "writing to " SHARED_FOLDER);
	int result = write_copy(making, plan, err) < 0 ? -1 : name_copy(making, err);
	close(making->copy_fd);
	return result;
}

/* The copy that is there, if it is one of all of PLAN. */
static int find_whole(const struct making *making, const struct plan *plan, struct shared_copy *copy, struct error *err)
{
	struct plan mapped;
	if (shared_store_find(&making->key, copy, err) < 0)
		return -1;
	shared_copy_match(&copy->index, plan, &mapped);
	if (mapped.range_bytes == plan->range_bytes && copy->index.copy_bytes == plan->range_bytes)
		return 0;
	close(copy->fd);
	return -1;
}

/* Without huge pages it is of no use. */
static void cache(const struct making *making, const struct shared_copy *copy, struct shared_made *out)
{
	char name[SHARED_NAME_BYTES];
	const struct file_range all = {0, copy->index.copy_bytes};
	if ((copy->st.st_mode & 07777) != copy_mode(making))
		fchmod(copy->fd, copy_mode(making));
	page_cache_make_huge(copy->fd, &all, 1, READ_TIMEOUT_MS, &out->huge_bytes, &out->reason);
	out->copy_bytes = copy->index.copy_bytes;
	if (out->reason.code != REASON_FILE_UNSUPPORTED || out->huge_bytes > 0)
		return;
	shared_name(&making->key, name);
	unlinkat(making->folder_fd, name, 0);
	out->copy_bytes = 0;
}

static int open_source(const char *path, struct making *making, struct error *err)
{
	char there[64];
	struct file_view view;
	if (!realpath(path, making->index.path))
		return error_set_errno(err, errno, REASON_SHARED_COPY, "%s", path);
	if (file_view_open(&view, 0, err) < 0)
		return -1;
	making->source_fd = file_view_open_file(&view, making->index.path, false);
	int failed = errno;
	file_view_close(&view);
	if (making->source_fd < 0 && failed == EREMOTE)
		return error_set(err, REASON_SHARED_COPY, "another computer or a process serves the library");
	if (making->source_fd < 0 || shared_key_of(making->source_fd, &making->key) < 0)
		return error_set_errno(err, failed, REASON_SHARED_COPY, "opening %s", path);
	snprintf(there, sizeof there, "/proc/self/fd/%d", making->source_fd);
	ssize_t got = readlink(there, making->index.path, sizeof making->index.path - 1);
	if (got < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "%s", there);
	making->index.path[got] = '\0';
	making->index.key = making->key;
	return 0;
}

static void find_or_make(const char *path, const struct plan *plan, struct making *making, struct shared_made *out)
{
	struct shared_copy copy;
	struct error unused = {0};
	making->source_fd = making->folder_fd = making->copy_fd = -1;
	fill_index(plan, &making->index);
	if (open_source(path, making, &out->reason) == 0 && open_folder(making, &out->reason) == 0) {
		bool is_there = find_whole(making, plan, &copy, &unused) == 0;
		if (is_there || (make_copy(making, plan, &out->reason) == 0 &&
		                 find_whole(making, plan, &copy, &out->reason) == 0)) {
			cache(making, &copy, out);
			close(copy.fd);
		}
	}
	if (making->source_fd >= 0)
		close(making->source_fd);
	if (making->folder_fd >= 0)
		close(making->folder_fd);
}

void share_make(const char *path, const struct elf_info *elf, struct shared_made *out)
{
	struct plan plan;
	*out = (struct shared_made){0};
	if (!elf_is_library(elf))
		return;
	shared_plan_of(elf, host_pages(), &plan);
	if (plan.range_count == 0)
		return;
	out->is_wanted = true;
	if (geteuid() != 0) {
		error_set(&out->reason, REASON_SHARED_COPY, "only root makes copies for all processes");
		return;
	}
	struct making *making = calloc(1, sizeof *making);
	if (making)
		find_or_make(path, &plan, making, out);
	else
		error_set_errno(&out->reason, ENOMEM, REASON_SHARED_COPY, "copying");
	free(making);
}

/* Of a state that its file is not in any more, or of no use for another reason. */
static bool is_stale(int folder_fd, const char *name, struct shared_copy *copy)
{
	struct shared_key key;
	struct error why = {0};
	if (shared_copy_open(folder_fd, name, copy, &why) < 0)
		return error_is_set(&why);
	close(copy->fd);
	cleanup_close int fd = open(copy->index.path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return shared_key_of(fd, &key) < 0 || memcmp(&key, &copy->index.key, sizeof key) != 0;
}

static bool is_name(const char *name)
{
	static const char hex[] = "0123456789abcdef";
	size_t device = strspn(name, hex), inode = name[device] == '-' ? strspn(name + device + 1, hex) : 0;
	return device > 0 && inode > 0 && name[device + 1 + inode] == '\0';
}

void share_sweep(bool all, struct shared_usage *out)
{
	struct shared_copy copy;
	struct stat st;
	*out = (struct shared_usage){0};
	int folder_fd = shared_folder_open(&out->reason);
	cleanup_closedir DIR *folder = folder_fd < 0 ? NULL : fdopendir(folder_fd);
	if (folder_fd >= 0 && !folder)
		close(folder_fd);
	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
		if (!is_name(entry->d_name))
			continue;
		if (all || is_stale(dirfd(folder), entry->d_name, &copy)) {
			if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
				out->removed++;
			else
				error_set_errno(&out->reason, errno, REASON_SHARED_COPY, "removing %s/%s",
				                SHARED_FOLDER, entry->d_name);
		} else if (fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			out->count++;
			out->bytes += (uint64_t)st.st_size;
		}
	}
}
