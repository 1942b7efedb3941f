#include "engine/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define PAGE_BYTES 4096
#define FSID       4 /* of the numbers in a line of /proc/PID/status: real, effective, saved, of the filesystem */

int mapped_file_open_exe(pid_t pid, struct error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	int fd = open(path, OPEN_FLAGS);
	return fd >= 0 ? fd : error_set_errno(err, errno, "no-proc", "%s", path);
}

/* The user or group, by KEY, with whose rights the process of STATUS opens files. Returns 0, or -1. */
static int fsid_of(const char *status, const char *key, unsigned *id)
{
	const char *line = strstr(status, key);
	unsigned ids[FSID];
	if (!line || sscanf(line + strlen(key), "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != FSID)
		return -1;
	*id = ids[FSID - 1];
	return 0;
}

/*
 * Open the file at PATH with PID's user and group; ours come back. Root that becomes another loses root's rights. Who
 * has them already asks for nothing: a filter might kill for it.
 */
static int open_as(pid_t pid, const char *path)
{
	char status_path[64];
	cleanup_free char *status = NULL;
	unsigned uid, gid;
	snprintf(status_path, sizeof status_path, "/proc/%d/status", (int)pid);
	errno = EACCES;
	if (read_file_at(AT_FDCWD, status_path, 65536, &status, NULL) < 0 || fsid_of(status, "\nUid:", &uid) < 0 ||
	    fsid_of(status, "\nGid:", &gid) < 0)
		return -1;
	bool is_other = uid != geteuid() || gid != getegid();
	if (is_other) {
		setfsgid(gid);
		setfsuid(uid);
	}
	int fd = open(path, OPEN_FLAGS);
	int saved_errno = errno;
	if (is_other) {
		setfsuid(geteuid());
		setfsgid(getegid());
	}
	errno = saved_errno;
	return fd;
}

/*
 * Whether FD is the file of MAPPING, by what the kernel says of a mapping of our own: device numbers of fstat(2) are
 * others on btrfs and overlayfs.
 */
static bool is_file_of(int fd, const struct mapping *mapping)
{
	struct image own;
	bool same = false;
	void *page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		return false;
	if (image_read(getpid(), &own, NULL) == 0) {
		ssize_t at = image_find(&own, (uintptr_t)page);
		same = at >= 0 && mapping_same_file(&own.mappings[at], mapping);
		image_free(&own);
	}
	munmap(page, PAGE_BYTES);
	return same;
}

/* Nothing is opened, which can have effects, before it is known for a file with the number of the one that is mapped.
 */
static int open_by_path(pid_t pid, const struct mapping *mapping, struct error *err)
{
	char path[4096 + 64];
	struct stat st;
	snprintf(path, sizeof path, "/proc/%d/root%s", (int)pid, mapping->path);
	cleanup_close int there = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0)
		return error_set_errno(err, errno, "text-unreadable", "%s", mapping->path);
	if (fstat(there, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != mapping->inode)
		return error_set(err, "text-unreadable", "%s is another file by now", mapping->path);
	snprintf(path, sizeof path, "/proc/self/fd/%d", there);
	int fd = open_as(pid, path);
	if (fd < 0)
		return error_set_errno(err, errno, "text-unreadable", "%s", mapping->path);
	if (is_file_of(fd, mapping))
		return fd;
	close(fd);
	return error_set(err, "text-unreadable", "%s is another file by now", mapping->path);
}

int mapped_file_open(pid_t pid, const struct mapping *mapping, struct error *err)
{
	char path[128];
	snprintf(path, sizeof path, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, mapping->start, mapping->end);
	int fd = open(path, OPEN_FLAGS);
	return fd >= 0 ? fd : open_by_path(pid, mapping, err);
}
