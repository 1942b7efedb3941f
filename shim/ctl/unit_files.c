/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define ENTRIES_MAX 65536
#define ALIASES_MAX 16

/* systemd's, without those of generators, which run while we do: lookup_paths_init() of systemd. */
static const char *const load_path[] = {
    "/etc/systemd/system.control",  "/run/systemd/system.control",   "/run/systemd/transient",
    "/etc/systemd/system",          "/etc/systemd/system.attached",  "/run/systemd/system",
    "/run/systemd/system.attached", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
    "/lib/systemd/system",
};

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);
	return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static int add(struct unit_entry **list, size_t *count, const char *directory, const char *name, unsigned rank)
{
	if ((*count & (*count - 1)) == 0) { /* a power of two: full */
		struct unit_entry *larger = realloc(*list, (*count ? 2 * *count : 1) * sizeof larger[0]);
		if (!larger)
			return -1;
		*list = larger;
	}
	char path[PATH_MAX], target[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	ssize_t bytes = readlink(path, target, sizeof target - 1);
	target[bytes > 0 ? bytes : 0] = '\0';
	struct unit_entry entry = {.name = strdup(name),
	                           .directory = strdup(directory),
	                           .target = bytes > 0 ? strdup(target) : NULL,
	                           .rank = rank};
	(*list)[(*count)++] = entry;
	return entry.name && entry.directory && (bytes <= 0 || entry.target) ? 0 : -1;
}

static int read_drop_ins(struct unit_files *files, const char *directory, unsigned rank, const char *skipped)
{
	cleanup_closedir DIR *folder = opendir(directory);
	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
		const char *name = entry->d_name;
		if (*name == '.' || !ends_with(name, ".conf") || strcmp(name, skipped) == 0)
			continue;
		if (files->drop_in_count == ENTRIES_MAX ||
		    add(&files->drop_ins, &files->drop_in_count, directory, name, rank) < 0)
			return -1;
	}
	return 0;
}

static int read_folder(struct unit_files *files, const char *directory, unsigned rank, const char *skipped)
{
	cleanup_closedir DIR *folder = opendir(directory);
	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
		const char *name = entry->d_name;
		char path[PATH_MAX];
		if (ends_with(name, ".service.d") || strcmp(name, "service.d") == 0) {
			snprintf(path, sizeof path, "%s/%s", directory, name);
			if (read_drop_ins(files, path, rank, skipped) < 0)
				return -1;
		} else if (ends_with(name, ".service")) {
			if (files->unit_count == ENTRIES_MAX ||
			    add(&files->units, &files->unit_count, directory, name, rank) < 0)
				return -1;
		}
	}
	return 0;
}

int unit_files_read(const char *root, const char *skipped, struct unit_files *out, struct error *err)
{
	struct unit_files files = {.unit_count = 0};
	*out = files;
	if (getenv("SYSTEMD_UNIT_PATH"))
		return error_set(err, REASON_UNIT_UNFIT, "SYSTEMD_UNIT_PATH is set: units lie elsewhere");
	char split[PATH_MAX], path[PATH_MAX];
	snprintf(split, sizeof split, "%s/lib", root);
	/* If /lib is a link to /usr/lib, that is one folder and not two. */
	bool is_merged = readlink(split, path, sizeof path) > 0;
	for (unsigned i = 0; i < sizeof load_path / sizeof load_path[0]; i++) {
		if (is_merged && strncmp(load_path[i], "/lib/", 5) == 0)
			continue;
		snprintf(path, sizeof path, "%s%s", root, load_path[i]);
		if (read_folder(&files, path, i, skipped) < 0) {
			unit_files_free(&files);
			return error_set(err, REASON_MEMORY, "for the names of units, or there are too many");
		}
	}
	*out = files;
	return 0;
}

static void free_list(struct unit_entry *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].name);
		free(list[i].directory);
		free(list[i].target);
	}
	free(list);
}

void unit_files_free(struct unit_files *files)
{
	free_list(files->units, files->unit_count);
	free_list(files->drop_ins, files->drop_in_count);
	*files = (struct unit_files){.unit_count = 0};
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The entry of NAME that counts: that of the first folder. */
static const struct unit_entry *find_entry(const struct unit_files *files, const char *name)
{
	const struct unit_entry *best = NULL;
	for (size_t i = 0; i < files->unit_count; i++) {
		const struct unit_entry *entry = &files->units[i];
		if (strcmp(entry->name, name) == 0 && (!best || entry->rank < best->rank))
			best = entry;
	}
	return best;
}

/* "a@b.service" -> "a@.service"; false if NAME is no instance. */
static bool template_of(const char *name, char buf[256])
{
	const char *at = strchr(name, '@');
	if (!at || strcmp(at, "@.service") == 0)
		return false;
	snprintf(buf, 256, "%.*s@.service", (int)(at - name), name);
	return true;
}

/* The entry that is NAME's unit file; NAME becomes the unit's own name if it is an alias. */
static const struct unit_entry *find_fragment(const struct unit_files *files, char name[256], struct error *err)
{
	for (unsigned hops = 0; hops < 8; hops++) {
		char template[256] = "";
		bool is_instance = template_of(name, template);
		const struct unit_entry *entry = find_entry(files, name);
		if (!entry && is_instance)
			entry = find_entry(files, template);
		if (!entry) {
			error_set(err, REASON_NO_UNIT, "%s: no unit file, or a generator's", name);
			return NULL;
		}
		const char *target = entry->target ? base_name(entry->target) : entry->name;
		if (strcmp(target, entry->name) == 0 || strcmp(target, template) == 0)
			return entry;
		if (!ends_with(target, ".service") || strchr(target, '@') || is_instance || strlen(target) > 255) {
			error_set(err, REASON_UNIT_UNFIT, "%s is a link to %s", name, entry->target);
			return NULL;
		}
		snprintf(name, 256, "%s", target);
	}
	error_set(err, REASON_UNIT_UNFIT, "%s is a link to itself", name);
	return NULL;
}

/* Names of folders in which drop-ins of a unit lie. */
struct folders {
	char list[UNIT_PATHS_MAX][260];
	size_t count;
};

static int add_folder(struct folders *folders, const char *unit)
{
	if (folders->count == UNIT_PATHS_MAX)
		return -1;
	snprintf(folders->list[folders->count++], sizeof folders->list[0], "%s.d", unit);
	return 0;
}

/* Those of NAME, its template, and the beginnings of it that end with a dash ("a-b.service": "a-.service"). */
static int add_folders(struct folders *folders, const char *name)
{
	char template[256];
	if (add_folder(folders, name) < 0 || (template_of(name, template) && add_folder(folders, template) < 0))
		return -1;
	const char *end = strchr(name, '@');
	end = end ? end : name + strlen(name) - strlen(".service");
	for (const char *p = end - 1; p > name; p--) {
		char chopped[256];
		if (*p != '-' || p + 1 == end)
			continue;
		snprintf(chopped, sizeof chopped, "%.*s%s", (int)(p + 1 - name), name, end);
		if (add_folder(folders, chopped) < 0 ||
		    (template_of(chopped, template) && add_folder(folders, template) < 0))
			return -1;
	}
	return 0;
}

/* Links to the unit are names of it, too, and have drop-ins. */
static int add_aliases(const struct unit_files *files, struct folders *folders, const char *name)
{
	unsigned aliases = 0;
	for (size_t i = 0; i < files->unit_count; i++) {
		const struct unit_entry *entry = &files->units[i];
		if (!entry->target || strcmp(base_name(entry->target), name) != 0 || strcmp(entry->name, name) == 0)
			continue;
		if (++aliases > ALIASES_MAX || add_folders(folders, entry->name) < 0)
			return -1;
	}
	return 0;
}

static bool is_in(const struct folders *folders, const struct unit_entry *drop_in)
{
	const char *folder = base_name(drop_in->directory);
	for (size_t i = 0; i < folders->count; i++) {
		if (strcmp(folders->list[i], folder) == 0)
			return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(base_name(a), base_name(b));
}

/* Of the drop-ins of the same name only the first counts, by folder of the load path. */
static int add_drop_ins(const struct unit_files *files, const struct folders *folders, struct unit_paths *out)
{
	const struct unit_entry *chosen[UNIT_PATHS_MAX] = {NULL};
	size_t count = 0;
	for (size_t i = 0; i < files->drop_in_count; i++) {
		const struct unit_entry *entry = &files->drop_ins[i];
		size_t at = 0;
		if (!is_in(folders, entry))
			continue;
		while (at < count && strcmp(chosen[at]->name, entry->name) != 0)
			at++;
		if (at == UNIT_PATHS_MAX)
			return -1;
		/* In folders of different names: which one counts depends on more than the load path. */
		if (at < count && strcmp(base_name(chosen[at]->directory), base_name(entry->directory)) != 0)
			return -1;
		if (at == count)
			chosen[count++] = entry;
		else if (entry->rank < chosen[at]->rank)
			chosen[at] = entry;
	}
	for (size_t i = 0; i < count; i++)
		snprintf(out->drop_ins[i], sizeof out->drop_ins[i], "%s/%s", chosen[i]->directory, chosen[i]->name);
	out->drop_in_count = count;
	qsort(out->drop_ins, count, sizeof out->drop_ins[0], by_name);
	return 0;
}

int unit_files_find(const struct unit_files *files, const char *name, struct unit_paths *out, struct error *err)
{
	struct folders folders = {.count = 0};
	out->drop_in_count = 0;
	snprintf(out->name, sizeof out->name, "%s", name);
	const struct unit_entry *fragment = find_fragment(files, out->name, err);
	if (!fragment)
		return -1;
	snprintf(out->fragment, sizeof out->fragment, "%s/%s", fragment->directory, fragment->name);
	if (add_folders(&folders, out->name) < 0 || add_aliases(files, &folders, out->name) < 0 ||
	    add_folder(&folders, "service") < 0 || add_drop_ins(files, &folders, out) < 0)
		return error_set(err, REASON_UNIT_UNFIT, "%s has too many drop-ins, or two of a name", out->name);
	return 0;
}
