/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "mm/file_view.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

#define MOUNTS_BYTES_MAX (4 << 20)

static bool is_remote_type(const char *type, size_t bytes)
{
	static const char *const remote[] = {"nfs",      "nfs4", "cifs", "smb3", "fuse", "fuseblk",
	                                     "virtiofs", "9p",   "afs",  "ceph", "coda"};
	for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
		if (strlen(remote[i]) == bytes && memcmp(remote[i], type, bytes) == 0)
			return true;
	}
	return bytes > 5 && memcmp(type, "fuse.", 5) == 0;
}

/*
 * Whether the filesystem with this device number, as PID's mounts tell it, is a remote one. statfs(2) would ask the
 * server. These have no block device, so that most programs need no look at the list (proc(5), mountinfo).
 */
static bool is_remote(pid_t pid, unsigned dev_major, unsigned dev_minor)
{
	char path[64];
	cleanup_free char *mounts = NULL;
	snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)pid);
	if (dev_major != 0 || read_file_at(AT_FDCWD, path, MOUNTS_BYTES_MAX, &mounts, NULL) < 0)
		return false;
	for (char *line = mounts, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		unsigned of_major, of_minor;
		*end = '\0';
		const char *type = strstr(line, " - ");
		if (type && sscanf(line, "%*u %*u %u:%u ", &of_major, &of_minor) == 2 && of_major == dev_major &&
		    of_minor == dev_minor)
			return is_remote_type(type + 3, strcspn(type + 3, " "));
	}
	return false;
}

/* As stat(2), without asking a server. */
static bool look_at(int dir_fd, const char *path, struct statx *out)
{
	return statx(dir_fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, out) == 0;
}

bool mapped_file_exe_is_remote(pid_t pid)
{
	char path[64];
	struct statx about;
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	return look_at(AT_FDCWD, path, &about) && is_remote(pid, about.stx_dev_major, about.stx_dev_minor);
}

bool mapped_file_is_remote(int fd)
{
	return (fcntl(fd, F_GETFL) & O_PATH) != 0;
}

int mapped_file_readable(int fd)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return mapped_file_is_remote(fd) ? open(path, OPEN_FLAGS) : fd;
}

/* The place of a remote file, by the kernel's own link to it. What its path leads to the server would be asked. */
static int open_remote(pid_t pid, const struct mapping *mapping, bool is_program, struct error *err)
{
	char path[128];
	struct statx about;
	if (is_program)
		snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	else
		snprintf(path, sizeof path, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, mapping->start,
		         mapping->end);
	cleanup_close int there = open(path, O_PATH | O_CLOEXEC);
	if (there < 0)
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE,
		                       "%s, which another computer or a process serves", mapping->path);
	if (!look_at(there, "", &about) || about.stx_ino != mapping->inode ||
	    about.stx_dev_major != mapping->dev_major || about.stx_dev_minor != mapping->dev_minor)
		return error_set(err, REASON_TEXT_UNREADABLE, "%s was replaced meanwhile", mapping->path);
	return steal_fd(&there);
}

/* root may be refused a file that its own user may read: by a FUSE mount without allow_other, or a server of NFS. */
static int open_exe(pid_t pid, struct error *err)
{
	char path[64], name[PATH_MAX];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	int fd = open(path, OPEN_FLAGS);
	if (fd >= 0)
		return fd;
	int failed = errno;
	ssize_t got = readlink(path, name, sizeof name - 1);
	if (got < 0)
		return error_set_errno(err, failed, REASON_NO_PROC, "%s", path);
	name[got] = '\0';
	return error_set_errno(err, failed, REASON_TEXT_UNREADABLE, "%s", name);
}

int mapped_file_identify(int fd, struct mapping *file, struct error *err)
{
	struct address_space own;
	void *page = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "mapping its file");
	int result = address_space_read(getpid(), &own, err);
	if (result == 0) {
		ssize_t at = address_space_find(&own, (uintptr_t)page);
		if (at >= 0)
			*file = own.mappings[at];
		else
			result = error_set(err, REASON_IMAGE, "our mapping of its file is not listed");
		file->path = "";
		address_space_free(&own);
	}
	munmap(page, 1);
	return result;
}

/* Nothing is opened, which can have effects, before it is known for a file with the number of the one that is mapped.
 */
static int open_by_path(pid_t pid, const struct mapping *mapping, struct error *err)
{
	char path[PATH_MAX + 64];
	struct stat st;
	struct file_view view;
	snprintf(path, sizeof path, "/proc/%d/root%s", (int)pid, mapping->path);
	cleanup_close int there = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0)
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "%s", mapping->path);
	if (fstat(there, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != mapping->inode)
		return error_set(err, REASON_TEXT_UNREADABLE, "%s was replaced meanwhile", mapping->path);
	if (file_view_open(&view, pid, err) < 0)
		return -1;
	int fd = file_view_reopen(&view, there);
	file_view_close(&view);
	return fd >= 0 ? fd : error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "%s", mapping->path);
}

static int open_library(pid_t pid, const struct mapping *mapping, struct error *err)
{
	char path[128];
	snprintf(path, sizeof path, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, mapping->start, mapping->end);
	int fd = open(path, OPEN_FLAGS);
	return fd >= 0 ? fd : open_by_path(pid, mapping, err);
}

int mapped_file_open(pid_t pid, const struct mapping *mapping, bool is_program, struct error *err)
{
	struct mapping file;
	if (is_remote(pid, mapping->dev_major, mapping->dev_minor))
		return open_remote(pid, mapping, is_program, err);
	int fd = is_program ? open_exe(pid, err) : open_library(pid, mapping, err);
	if (fd < 0)
		return -1;
	int result = mapped_file_identify(fd, &file, err);
	if (result == 0 && !mapping_same_file(&file, mapping))
		result = error_set(err, REASON_TEXT_UNREADABLE, "%s was replaced meanwhile", mapping->path);
	if (result == 0)
		return fd;
	close(fd);
	return -1;
}

int mapped_file_find_exe(struct address_space *space, pid_t pid, struct error *err)
{
	struct mapping file;
	cleanup_close int fd = open_exe(pid, err);
	space->has_exe = false;
	if (fd < 0)
		return -1;
	if (mapped_file_identify(fd, &file, err) < 0)
		return -1;
	for (size_t i = 0; i < space->count; i++) {
		if (!mapping_same_file(&space->mappings[i], &file))
			continue;
		space->exe_index = i;
		space->has_exe = true;
		if (mapping_is_text(&space->mappings[i]))
			break;
	}
	return space->has_exe ? 0 : error_set(err, REASON_NO_TEXT, "no part of the program's file is mapped");
}
