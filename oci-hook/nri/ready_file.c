/* SPDX-License-Identifier: Apache-2.0 */
#include "ready_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* As files of features.d have it, of which Node Feature Discovery makes labels. */
#define CONTENT "hugexec.io/ready=true\n"

int ready_file_make(struct ready_file *file, struct error *err)
{
	if (!file->path)
		return 0;
	unlink(file->path);
	cleanup_close int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_NRI, "%s", file->path);
	if (fchmod(fd, 0644) < 0 || write(fd, CONTENT, strlen(CONTENT)) != (ssize_t)strlen(CONTENT) ||
	    fstat(fd, &file->made) < 0) {
		error_set_errno(err, errno, REASON_NRI, "%s", file->path);
		unlink(file->path);
		file->made.st_nlink = 0;
		return -1;
	}
	return 0;
}

/* A number of an inode is given again soon, so its time is looked at, too. */
static bool is_same(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
	       one->st_ctim.tv_sec == other->st_ctim.tv_sec && one->st_ctim.tv_nsec == other->st_ctim.tv_nsec;
}

void ready_file_remove(struct ready_file *file)
{
	struct stat now;
	if (file->made.st_nlink > 0 && lstat(file->path, &now) == 0 && is_same(&now, &file->made))
		unlink(file->path);
	file->made.st_nlink = 0;
}
