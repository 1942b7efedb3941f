/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files make up the policy, and whether they may be believed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/linkhash.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "builtin.h"
#include "config.h"
#include "policy/internal.h"

#define DROP_INS_MAX 1024
#define PATH_BYTES   PATH_MAX

/* Highest precedence first, as everywhere in systemd's world. */
static const char *const directories[] = {HUGEXEC_CONFDIR, "/run/hugexec", HUGEXEC_VENDORDIR};
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

static const char *kind_of_file(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return "a directory";
	case S_IFIFO: return "a FIFO";
	case S_IFSOCK: return "a socket";
	case S_IFCHR:
	case S_IFBLK: return "a device";
	default: return "something else";
	}
}

/* Whether what is at PATH is root's alone. DEED: what others could do to it if not. */
static int check_owner(const struct stat *st, const char *path, const char *deed, struct error *err)
{
	if (st->st_uid != 0)
		return error_set(err, REASON_POLICY_UNTRUSTED, "%s: UID %u owns it, not root: chown root it", path,
		                 (unsigned)st->st_uid);
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return error_set(err, REASON_POLICY_UNTRUSTED, "%s: users other than its owner can %s: chmod go-w it",
		                 path, deed);
	return 0;
}

/* Whether the open file is one to read: plain, not absurdly large, and as root not one that others could have written.
 */
static int check_file(const struct loader *loader, int fd, const char *path, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, REASON_POLICY_UNREADABLE, "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, REASON_POLICY_UNREADABLE, "%s: is %s, not a plain file", path,
		                 kind_of_file(st.st_mode));
	if ((uint64_t)st.st_size > POLICY_FILE_MAX_BYTES)
		return error_set(err, REASON_POLICY_TOO_LARGE, "%s: is larger than 1 MiB", path);
	if (!loader->sources->require_root_owned)
		return 0;
	return check_owner(&st, path, "write it", err);
}

/*
 * Whether others than root could put files into the folder DIR of a host's policy, or take some away. Those of a file
 * that is named are their user's affair: a volume of Kubernetes lets everybody write its own.
 */
static int check_folder(const struct loader *loader, int dir_fd, const char *path, struct error *err)
{
	struct stat st;
	if (!loader->sources->require_root_owned || fstat(dir_fd, &st) < 0)
		return 0;
	return check_owner(&st, path, "put files there", err);
}

/* The first failure is the one that is told; the files behind it are still read for their "on_error". */
static void note_failure(struct loader *loader, const struct error *err)
{
	if (!loader->failed && loader->err)
		*loader->err = *err;
	loader->failed = true;
}

static int add_open_file(struct loader *loader, int fd, const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes = 0;
	if (check_file(loader, fd, path, err) < 0)
		return -1;
	if (read_all(fd, POLICY_FILE_MAX_BYTES, &text, &bytes) < 0)
		return error_set_errno(err, errno, errno == EFBIG ? REASON_POLICY_TOO_LARGE : REASON_POLICY_UNREADABLE,
		                       "%s", path);
	return policy_add_text(loader->policy, text, bytes, path, loader->sources, &loader->said, err);
}

/* Add the file at PATH. Returns false if there is none. */
static bool add_file(struct loader *loader, const char *path)
{
	struct error err = {0};
	size_t rules_before = loader->policy->rule_count;
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return false;
	loader->found_any = true;
	if (fd < 0)
		error_set_errno(&err, errno,
		                errno == EMFILE || errno == ENFILE ? REASON_FD_LIMIT : REASON_POLICY_UNREADABLE, "%s",
		                path);
	else
		add_open_file(loader, fd, path, &err);
	if (error_is_set(&err))
		note_failure(loader, &err);
	/* Mistakes in its text were told one by one. */
	if (loader->sources->observe && err.code != REASON_POLICY_INVALID)
		loader->sources->observe(loader->sources->observe_context, path,
		                         loader->policy->rule_count - rules_before, error_is_set(&err) ? &err : NULL);
	return true;
}

/* A drop-in that is a link to /dev/null, or empty, hides those of the same name below it and adds nothing. */
static bool is_mask(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 &&
	       ((S_ISREG(st.st_mode) && st.st_size == 0) || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)));
}

static void prefixed(const struct loader *loader, size_t directory, const char *rest, char *path)
{
	snprintf(path, PATH_BYTES, "%s%s/%s", loader->sources->root ? loader->sources->root : "",
	         directories[directory], rest);
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

struct policy_drop_in {
	char name[256];
	size_t directory;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct policy_drop_in *)a)->name, ((const struct policy_drop_in *)b)->name);
}

static bool has_name(const struct policy_drop_in *drop_ins, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(drop_ins[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool is_drop_in_name(const char *name)
{
	size_t len = strlen(name);
	return name[0] != '.' && len > 5 && strcmp(name + len - 5, ".json") == 0;
}

/* An array that grows up to DROP_INS_MAX. */
struct policy_drop_ins {
	struct policy_drop_in *list;
	size_t count, capacity;
};

static int add_drop_in(struct policy_drop_ins *drop_ins, const char *name, size_t directory)
{
	if (drop_ins->count == drop_ins->capacity) {
		size_t capacity = drop_ins->capacity ? drop_ins->capacity * 2 : 16;
		struct policy_drop_in *larger = realloc(drop_ins->list, capacity * sizeof larger[0]);
		if (!larger)
			return -1;
		drop_ins->list = larger;
		drop_ins->capacity = capacity;
	}
	struct policy_drop_in *drop_in = &drop_ins->list[drop_ins->count++];
	snprintf(drop_in->name, sizeof drop_in->name, "%s", name);
	drop_in->directory = directory;
	return 0;
}

/* Names ending in .json below DIRECTORY that no directory of higher precedence has. */
static int collect_drop_ins(const struct loader *loader, size_t directory, struct policy_drop_ins *drop_ins,
                            struct error *err)
{
	char path[PATH_BYTES];
	prefixed(loader, directory, "policy.d", path);
	cleanup_closedir DIR *dir = opendir(path);
	size_t from_higher = drop_ins->count;
	if (!dir && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!dir)
		return error_set_errno(err, errno, REASON_POLICY_UNREADABLE, "%s", path);
	if (check_folder(loader, dirfd(dir), path, err) < 0)
		return -1;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (!is_drop_in_name(entry->d_name) || has_name(drop_ins->list, from_higher, entry->d_name))
			continue;
		if (drop_ins->count == DROP_INS_MAX)
			return error_set(err, REASON_POLICY_TOO_LARGE, "%s: more than %d drop-ins", path, DROP_INS_MAX);
		if (add_drop_in(drop_ins, entry->d_name, directory) < 0)
			return error_set(err, REASON_POLICY_UNREADABLE, "%s: out of memory", path);
	}
	return 0;
}

static void add_drop_ins(struct loader *loader)
{
	struct policy_drop_ins drop_ins = {0};
	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		struct error err = {0};
		if (collect_drop_ins(loader, i, &drop_ins, &err) < 0)
			note_failure(loader, &err);
	}
	if (drop_ins.count)
		qsort(drop_ins.list, drop_ins.count, sizeof drop_ins.list[0], by_name);
	for (size_t i = 0; i < drop_ins.count; i++) {
		char directory[PATH_BYTES], path[PATH_BYTES + 260];
		prefixed(loader, drop_ins.list[i].directory, "policy.d", directory);
		snprintf(path, sizeof path, "%s/%s", directory, drop_ins.list[i].name);
		loader->found_any = true;
		if (!is_mask(path))
			add_file(loader, path);
	}
	free(drop_ins.list);
}

static void check_folders(struct loader *loader)
{
	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		char path[PATH_BYTES];
		struct error err = {0};
		snprintf(path, sizeof path, "%s%s", loader->sources->root ? loader->sources->root : "", directories[i]);
		cleanup_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && check_folder(loader, fd, path, &err) < 0)
			note_failure(loader, &err);
	}
}

static void add_host_files(struct loader *loader)
{
	check_folders(loader);
	add_main_file(loader);
	add_drop_ins(loader);
	if (loader->found_any || loader->failed)
		return;
	struct error err = {0};
	if (policy_add_text(loader->policy, builtin_policy, strlen(builtin_policy), "built-in policy", NULL, NULL,
	                    &err) < 0)
		note_failure(loader, &err);
	if (loader->sources->observe)
		loader->sources->observe(loader->sources->observe_context, "built-in policy",
		                         loader->policy->rule_count, error_is_set(&err) ? &err : NULL);
}

static void note_missing_file(struct loader *loader)
{
	struct error err = {0};
	error_set(&err, REASON_POLICY_UNREADABLE, "%s: there is no such file", loader->sources->file);
	note_failure(loader, &err);
	if (loader->sources->observe)
		loader->sources->observe(loader->sources->observe_context, loader->sources->file, 0, &err);
}

int policy_load(const struct policy_sources *sources, struct policy **out, enum on_error *on_error, struct error *err)
{
	struct loader loader = {.sources = sources, .policy = calloc(1, sizeof *loader.policy), .err = err};
	/*
	 * json-c's own choice is seeded with random numbers. For these glibc 2.41 masks signals and maps memory, and a
	 * filter that kills for a call that the workload never makes may be on us already. Keys that collide are the
	 * policy's own loss.
	 */
	json_global_set_string_hash(JSON_C_STR_HASH_PERLLIKE);
	if (!loader.policy)
		return error_set(err, REASON_POLICY_UNREADABLE, "out of memory");
	if (!sources->file)
		add_host_files(&loader);
	else if (!add_file(&loader, sources->file))
		note_missing_file(&loader);
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
	if (text_bytes > POLICY_FILE_MAX_BYTES)
		return error_set(err, REASON_POLICY_TOO_LARGE, "%s: is larger than 1 MiB", name);
	struct policy *policy = calloc(1, sizeof *policy);
	char *copy = malloc(text_bytes + 1); /* TEXT need not end in a NUL */
	int result;
	if (policy && copy) {
		*(char *)mempcpy(copy, text, text_bytes) = '\0';
		result = policy_add_text(policy, copy, text_bytes, name, NULL, NULL, err);
	} else {
		result = error_set(err, REASON_POLICY_UNREADABLE, "%s: out of memory", name);
	}
	free(copy);
	if (result < 0) {
		policy_free(policy);
		return -1;
	}
	*out = policy;
	return 0;
}
