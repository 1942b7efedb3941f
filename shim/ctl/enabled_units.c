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
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

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

int enabled_add(const char *folder, const char *unit, struct error *err)
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
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	return fd < 0 ? error_set_errno(err, errno, REASON_DROP_IN, "%s", path) : 0;
}

int enabled_remove(const char *folder, const char *unit, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", folder, unit);
	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	return 0;
}
