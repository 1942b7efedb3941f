/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "ctl/enabled_units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TRIAL "trial\n"

bool enabled_is_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@";
	static const char suffix[] = ".service";
	size_t length = strlen(name), suffix_length = sizeof suffix - 1;
	return length > suffix_length && length <= 255 && *name != '.' && *name != '@' &&
	       name[strspn(name, allowed)] == '\0' && strcmp(name + length - suffix_length, suffix) == 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t collect(const char *folder, char **names, size_t count)
{
	cleanup_closedir DIR *directory = opendir(folder);
	for (struct dirent *entry; directory && count < ENABLED_MAX && (entry = readdir(directory)) != NULL;) {
		if (enabled_is_name(entry->d_name) && (names[count] = strdup(entry->d_name)) != NULL)
			count++;
	}
	return count;
}

void enabled_each(void (*each)(void *context, const char *unit, bool runtime), void *context)
{
	cleanup_free char **names = calloc(ENABLED_MAX, sizeof names[0]);
	if (!names)
		return;
	size_t count = collect(ENABLED_RUNTIME_FOLDER, names, collect(ENABLED_FOLDER, names, 0));
	qsort(names, count, sizeof names[0], compare);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(names[i - 1], names[i]) != 0)
			each(context, names[i], !enabled_has(ENABLED_FOLDER, names[i]));
	}
	for (size_t i = 0; i < count; i++)
		free(names[i]);
}

bool enabled_has(const char *folder, const char *unit)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	return access(path, F_OK) == 0;
}

/* FOLDER and the one that it is in. */
static int make_folder(const char *folder, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s", folder);
	char *last = strrchr(path, '/');
	*last = '\0';
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	*last = '/';
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	return 0;
}

int enabled_try(const char *folder, const char *unit, struct error *err)
{
	char path[PATH_MAX];
	if (make_folder(folder, err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	/* Root's alone: who can open it could hold the trial. */
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? error_set(err, REASON_DROP_IN, "another hugexecctl tries %s now", unit)
		                            : error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	if (pwrite(fd, TRIAL, sizeof TRIAL - 1, 0) != sizeof TRIAL - 1) {
		error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
		unlink(path);
		return -1;
	}
	return steal_fd(&fd);
}

int enabled_keep(int trial, struct error *err)
{
	if (ftruncate(trial, 0) < 0 || fsync(trial) < 0)
		return error_set_errno(err, errno, REASON_DROP_IN, "the unit's name in units.d");
	return 0;
}

bool enabled_is_abandoned(const char *folder, const char *unit)
{
	char path[PATH_MAX], text[sizeof TRIAL];
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || pread(fd, text, sizeof text, 0) != sizeof TRIAL - 1 || memcmp(text, TRIAL, sizeof TRIAL - 1) != 0)
		return false;
	return flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

int enabled_remove(const char *folder, const char *unit, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	return 0;
}
