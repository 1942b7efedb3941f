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
#include "mm/file_view.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

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
		return error_set_errno(err, failed, "no-proc", "%s", path);
	name[got] = '\0';
	return error_set_errno(err, failed, "text-unreadable", "%s", name);
}

/*
 * What the kernel calls the file open at FD, its device and inode, in a list of mappings: device numbers of fstat(2)
 * are others on btrfs and overlayfs. So a mapping of our own is looked at. Returns 0, or -1 with ERR.
 */
static int identify(int fd, struct mapping *file, struct error *err)
{
	struct image own;
	void *page = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		return error_set_errno(err, errno, "text-unreadable", "mapping its file");
	int result = image_read(getpid(), &own, err);
	if (result == 0) {
		ssize_t at = image_find(&own, (uintptr_t)page);
		if (at >= 0)
			*file = own.mappings[at];
		else
			result = error_set(err, "image", "our mapping of its file is not listed");
		file->path = "";
		image_free(&own);
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
		return error_set_errno(err, errno, "text-unreadable", "%s", mapping->path);
	if (fstat(there, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != mapping->inode)
		return error_set(err, "text-unreadable", "%s is another file by now", mapping->path);
	if (file_view_open(&view, pid, err) < 0)
		return -1;
	int fd = file_view_reopen(&view, there);
	file_view_close(&view);
	return fd >= 0 ? fd : error_set_errno(err, errno, "text-unreadable", "%s", mapping->path);
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
	int fd = is_program ? open_exe(pid, err) : open_library(pid, mapping, err);
	if (fd < 0)
		return -1;
	int result = identify(fd, &file, err);
	if (result == 0 && !mapping_same_file(&file, mapping))
		result = error_set(err, "text-unreadable", "%s is another file by now", mapping->path);
	if (result == 0)
		return fd;
	close(fd);
	return -1;
}

int mapped_file_find_exe(struct image *image, pid_t pid, struct error *err)
{
	struct mapping file;
	cleanup_close int fd = open_exe(pid, err);
	image->has_exe = false;
	if (fd < 0)
		return -1;
	if (identify(fd, &file, err) < 0)
		return -1;
	for (size_t i = 0; i < image->count; i++) {
		if (!mapping_same_file(&image->mappings[i], &file))
			continue;
		image->exe_index = i;
		image->has_exe = true;
		if (mapping_is_text(&image->mappings[i]))
			break;
	}
	return image->has_exe ? 0 : error_set(err, "no-text", "nothing of the program's file is mapped");
}
