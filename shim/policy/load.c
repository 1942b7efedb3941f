/*
 * Which files make up the policy, and whether they may be believed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "builtin.h"
#include "policy/internal.h"

#define FILE_LIMIT_BYTES MIB
#define DROP_INS_MAX 1024
#define PATH_BYTES 4096

/* Highest precedence first, as everywhere in systemd's world. */
static const char *const directories[] = {"/etc/hugexec", "/run/hugexec", "/usr/lib/hugexec"};
#define DIRECTORY_COUNT (sizeof directories / sizeof directories[0])

/* A policy in the making. */
struct loader {
	const struct policy_sources *sources;
	struct policy *policy;
	bool found_any;
	enum on_error said;
	struct error *err;
	bool failed;
};

void *policy_keep(struct policy *policy, void *block)
{
	if (!block)
		return NULL;
	void **larger = realloc(policy->blocks, (policy->block_count + 1) * sizeof larger[0]);
	if (!larger) {
		free(block);
		return NULL;
	}
	policy->blocks = larger;
	return policy->blocks[policy->block_count++] = block;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->block_count; i++)
		free(policy->blocks[i]);
	for (size_t i = 0; i < policy->root_count; i++)
		json_object_put(policy->roots[i]);
	free(policy->blocks);
	free(policy->roots);
	free(policy->rules);
	free(policy);
}

/* Whether the open file is one to read: plain, not absurdly large, and as root not one that others could have written. */
static int check_file(const struct loader *loader, int fd, const char *path, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "policy-unreadable", "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, "policy-unreadable", "%s is not a plain file", path);
	if ((uint64_t)st.st_size > FILE_LIMIT_BYTES)
		return error_set(err, "policy-too-large", "%s is larger than 1 MiB", path);
	if (!loader->sources->require_root_owned)
		return 0;
	if (st.st_uid != 0)
		return error_set(err, "policy-untrusted", "%s belongs to uid %u; chown root it", path, (unsigned)st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return error_set(err, "policy-untrusted", "others may write %s; chmod go-w it", path);
	return 0;
}

/* The first failure is the one that is told; the files behind it are still read for their "on_error". */
static void note_failure(struct loader *loader, const struct error *err)
{
	if (!loader->failed && loader->err)
		*loader->err = *err;
	loader->failed = true;
}

/* Add the file at PATH. Returns false where there is none. */
static bool add_file(struct loader *loader, const char *path)
{
	struct error err = {0};
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return false;
	loader->found_any = true;
	cleanup_free char *text = NULL;
	size_t bytes = 0;
	int result = 0;
	if (fd < 0)
		result = error_set_errno(&err, errno, errno == EMFILE || errno == ENFILE ? "fd-limit" : "policy-unreadable",
		                         "%s", path);
	else
		result = check_file(loader, fd, path, &err);
	if (!result && read_all(fd, FILE_LIMIT_BYTES, &text, &bytes) < 0)
		result = error_set_errno(&err, errno, errno == EFBIG ? "policy-too-large" : "policy-unreadable", "%s", path);
	if (!result)
		result = policy_add_text(loader->policy, text, bytes, path, &loader->said, &err);
	if (result < 0)
		note_failure(loader, &err);
	return true;
}

/* A drop-in that is a link to /dev/null, or empty, hides those of the same name below it and adds nothing. */
static bool is_mask(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && ((S_ISREG(st.st_mode) && st.st_size == 0) ||
	                                (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)));
}

static void prefixed(const struct loader *loader, size_t directory, const char *rest, char *path)
{
	snprintf(path, PATH_BYTES, "%s%s/%s", loader->sources->root ? loader->sources->root : "", directories[directory],
	         rest);
}

static void add_main_file(struct loader *loader)
{
	char path[PATH_BYTES];
	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		prefixed(loader, i, "policy.json", path);
		if (is_mask(path)) {
			loader->found_any = true;
			return;
		}
		if (add_file(loader, path))
			return;
	}
}

struct drop_in {
	char name[256];
	size_t directory;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static bool has_name(const struct drop_in *drop_ins, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(drop_ins[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Names ending in .json below DIRECTORY that no directory of higher precedence has. */
static size_t collect_drop_ins(const struct loader *loader, size_t directory, struct drop_in *drop_ins, size_t count)
{
	char path[PATH_BYTES];
	prefixed(loader, directory, "policy.d", path);
	cleanup_closedir DIR *dir = opendir(path);
	size_t from_higher = count;
	for (struct dirent *entry; dir && (entry = readdir(dir)) && count < DROP_INS_MAX;) {
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || len < 6 || strcmp(entry->d_name + len - 5, ".json") != 0 ||
		    has_name(drop_ins, from_higher, entry->d_name))
			continue;
		snprintf(drop_ins[count].name, sizeof drop_ins[count].name, "%s", entry->d_name);
		drop_ins[count++].directory = directory;
	}
	return count;
}

static int add_drop_ins(struct loader *loader)
{
	cleanup_free struct drop_in *drop_ins = NULL;
	size_t count = 0;
	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		char path[PATH_BYTES];
		prefixed(loader, i, "policy.d", path);
		if (access(path, F_OK) < 0)
			continue;
		if (!drop_ins && !(drop_ins = calloc(DROP_INS_MAX, sizeof drop_ins[0])))
			return error_set(loader->err, "policy-unreadable", "out of memory");
		count = collect_drop_ins(loader, i, drop_ins, count);
	}
	if (count)
		qsort(drop_ins, count, sizeof drop_ins[0], by_name);
	for (size_t i = 0; i < count; i++) {
		char directory[PATH_BYTES], path[PATH_BYTES + 260];
		prefixed(loader, drop_ins[i].directory, "policy.d", directory);
		snprintf(path, sizeof path, "%s/%s", directory, drop_ins[i].name);
		loader->found_any = true;
		if (!is_mask(path))
			add_file(loader, path);
	}
	return 0;
}

static void add_host_files(struct loader *loader)
{
	add_main_file(loader);
	if (add_drop_ins(loader) < 0)
		loader->failed = true;
	if (!loader->found_any && policy_add_text(loader->policy, builtin_policy, strlen(builtin_policy), "built-in policy",
	                                          NULL, loader->err) < 0)
		loader->failed = true;
}

int policy_load(const struct policy_sources *sources, struct policy **out, enum on_error *on_error, struct error *err)
{
	struct loader loader = {.sources = sources, .policy = calloc(1, sizeof *loader.policy), .err = err};
	if (!loader.policy)
		return error_set(err, "policy-unreadable", "out of memory");
	if (!sources->file)
		add_host_files(&loader);
	else if (!add_file(&loader, sources->file))
		loader.failed = error_set(err, "policy-unreadable", "%s: there is no such file", sources->file) < 0;
	if (on_error)
		*on_error = loader.said;
	if (loader.failed) {
		policy_free(loader.policy);
		return -1;
	}
	*out = loader.policy;
	return 0;
}

int policy_parse(const char *text, size_t text_bytes, const char *name, struct policy **out, struct error *err)
{
	struct policy *policy = calloc(1, sizeof *policy);
	if (!policy)
		return error_set(err, "policy-unreadable", "out of memory");
	cleanup_free char *copy = strndup(text, text_bytes);
	int result = copy ? policy_add_text(policy, text, text_bytes, name, NULL, err)
	                  : error_set(err, "policy-unreadable", "out of memory");
	if (result < 0) {
		policy_free(policy);
		return -1;
	}
	*out = policy;
	return 0;
}
