/* SPDX-License-Identifier: Apache-2.0 */
#include "real_runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "policy/json_strict.h"

#define MARK             "HUGEXEC_RUNTIME_ROUND"
#define CONFIG_MAX_BYTES 65536
#define USUAL_FOLDERS    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Whether PATH is a program and not this one. */
static bool is_usable(const char *path)
{
	struct stat program, self;
	if (stat(path, &program) < 0 || stat("/proc/self/exe", &self) < 0 || !S_ISREG(program.st_mode))
		return false;
	bool is_this = program.st_dev == self.st_dev && program.st_ino == self.st_ino;
	return !is_this && access(path, X_OK) == 0;
}

/* Look for NAME in the colon-separated FOLDERS. */
static bool search(const char *name, const char *folders, char *buf, size_t buf_bytes)
{
	while (folders && *folders) {
		size_t length = strcspn(folders, ":");
		int bytes = snprintf(buf, buf_bytes, "%.*s/%s", (int)length, folders, name);
		if (folders[0] == '/' && (size_t)bytes < buf_bytes && is_usable(buf))
			return true;
		folders += length + (folders[length] == ':');
	}
	return false;
}

static int find_program(const char *name, char *buf, size_t buf_bytes, struct error *err)
{
	if (strchr(name, '/')) {
		if ((size_t)snprintf(buf, buf_bytes, "%s", name) < buf_bytes && is_usable(buf))
			return 0;
		return error_set(err, REASON_RUNTIME, "%s cannot be executed, or is hugexec itself", name);
	}
	if (search(name, getenv("PATH"), buf, buf_bytes) || search(name, USUAL_FOLDERS, buf, buf_bytes))
		return 0;
	return error_set(err, REASON_RUNTIME, "there is no %s", name);
}

/* Whether what FD is may name the program that root runs: root's, and nobody else may write it. */
static bool is_trusted(int fd)
{
	struct stat about;
	if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode))
		return false;
	return geteuid() != 0 || (about.st_uid == 0 && !(about.st_mode & (S_IWGRP | S_IWOTH)));
}

/* What RUNTIME_CONFIG says, into NAME. Returns 1; 0 if it says nothing; -1 with ERR. */
static int read_config(char *name, size_t name_bytes, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes, offset;
	const char *what;
	cleanup_close int fd = open(RUNTIME_CONFIG, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, REASON_RUNTIME, RUNTIME_CONFIG);
	if (!is_trusted(fd))
		return error_set(err, REASON_RUNTIME, RUNTIME_CONFIG " is not root's file, or others may write it");
	if (read_all(fd, CONFIG_MAX_BYTES, &text, &bytes) < 0)
		return error_set_errno(err, errno, REASON_RUNTIME, RUNTIME_CONFIG);
	json_object *json = NULL;
	if (strict_parse(text, bytes, &json, &offset, &what) < 0)
		return error_set(err, REASON_RUNTIME, RUNTIME_CONFIG ", byte %zu: %s", offset,
		                 what ? what : "no memory");
	json_object *runtime =
	    json_object_is_type(json, json_type_object) ? json_object_object_get(json, "runtime") : NULL;
	int result = 1;
	if (json_object_is_type(runtime, json_type_string))
		snprintf(name, name_bytes, "%s", json_object_get_string(runtime));
	else
		result = error_set(err, REASON_RUNTIME, RUNTIME_CONFIG " has no \"runtime\" that is a string");
	json_object_put(json);
	return result;
}

/* How often this process has been this program before; counts on. */
static int count_round(void)
{
	char mark[40];
	int pid = 0, round = 0;
	const char *before = getenv(MARK);
	if (!before || sscanf(before, "%d:%d", &pid, &round) != 2 || pid != (int)getpid())
		round = 0;
	snprintf(mark, sizeof mark, "%d:%d", (int)getpid(), round + 1);
	setenv(MARK, mark, 1);
	return round;
}

int real_runtime_find(const char *wanted, char *path_buf, size_t buf_bytes, struct error *err)
{
	char name[PATH_MAX];
	int round = count_round();
	if (round > 1)
		return error_set(err, REASON_RUNTIME, "the chosen runtime leads back to this program");
	if (wanted && round == 0 && find_program(wanted, path_buf, buf_bytes, err) == 0)
		return 0;
	if (!wanted && round == 0 && read_config(name, sizeof name, err) > 0 &&
	    find_program(name, path_buf, buf_bytes, err) == 0)
		return 0;
	struct error last;
	if (find_program("runc", path_buf, buf_bytes, &last) == 0 ||
	    find_program("crun", path_buf, buf_bytes, &last) == 0)
		return 0;
	return error_is_set(err) ? -1 : error_set(err, REASON_RUNTIME, "there is no runc and no crun");
}
