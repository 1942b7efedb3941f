/* SPDX-License-Identifier: Apache-2.0 */
#include "report/container_state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include "base/proc.h"
#include "base/utf8.h"
#include "report/json_text.h"

#define FILE_MAX_BYTES  8192
#define RECORDS_MAX     65536
#define SHORT_ID_LENGTH 12

static void copy_name(char name[RECORD_NAME_BYTES], const char *fact)
{
	snprintf(name, RECORD_NAME_BYTES, "%s", fact ? fact : "");
}

/* When PID started. Returns 0, or -1 with errno if it has ended (ESRCH), if only its parent has to hear of it. */
static int start_of(pid_t pid, uint64_t *start)
{
	uint64_t fields[STAT_FIELDS];
	cleanup_free char *stat = proc_stat(pid);
	if (!stat)
		return -1;
	if (strchr("ZXx", proc_stat_state(stat))) { /* or there is no state */
		errno = ESRCH;
		return -1;
	}
	if (proc_stat_parse(stat, fields) < 0) {
		errno = EBADMSG;
		return -1;
	}
	*start = fields[STAT_START_TIME];
	return 0;
}

/* The inode of PID's mount namespace; 0 if that cannot be seen. */
static uint64_t mount_ns_of(const char *pid)
{
	char path[48];
	struct stat about;
	snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
	return stat(path, &about) == 0 ? about.st_ino : 0;
}

/* Runtimes allow no other characters in ids either; in particular no slash. */
static bool is_id(const char *id)
{
	size_t length = strlen(id);
	if (length == 0 || length > RECORD_ID_MAX || id[0] == '.')
		return false;
	for (; *id; id++) {
		if (!isalnum((unsigned char)*id) && !strchr("_+-.", *id))
			return false;
	}
	return true;
}

static void format_file_name(const struct record *record, char *name, size_t name_bytes)
{
	snprintf(name, name_bytes, "%s.%d.%" PRIu64, record->id, (int)record->init_pid, record->init_start);
}

/* The reverse: id, init and its start from a file's name; false if it is none of ours. */
static bool parse_file_name(const char *name, struct record *record)
{
	char again[NAME_MAX + 1];
	size_t length = strlen(name);
	size_t start = length, pid;
	while (start > 0 && name[start - 1] != '.')
		start--;
	pid = start > 0 ? start - 1 : 0;
	while (pid > 0 && name[pid - 1] != '.')
		pid--;
	if (pid < 2 || pid - 1 > RECORD_ID_MAX)
		return false;
	memcpy(record->id, name, pid - 1);
	record->id[pid - 1] = '\0';
	record->init_pid = (pid_t)strtol(name + pid, NULL, 10);
	record->init_start = strtoull(name + start, NULL, 10);
	format_file_name(record, again, sizeof again);
	return is_id(record->id) && record->init_pid > 0 && strcmp(again, name) == 0;
}

static bool is_alive(const struct record *record)
{
	uint64_t start;
	if (start_of(record->init_pid, &start) < 0)
		return errno != ESRCH && errno != ENOENT;
	return start == record->init_start;
}

/* The directory and the one above it, if they are missing. */
static int open_directory(const char *directory)
{
	char parent[PATH_MAX];
	snprintf(parent, sizeof parent, "%s", directory);
	char *slash = strrchr(parent, '/');
	if (slash && slash > parent) {
		*slash = '\0';
		if (mkdir(parent, 0755) == 0)
			chmod(parent, 0755); /* policies are there, too, and the umask is somebody else's */
	}
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return -1;
	return open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static json_object *to_json(const struct record *record)
{
	json_object *json = json_object_new_object();
	if (!json)
		return NULL;
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "mount_namespace", json_object_new_uint64(record->mount_ns));
	json_object_object_add(json, "namespace", json_text(record->pod_namespace));
	json_object_object_add(json, "pod", json_text(record->pod));
	json_object_object_add(json, "container", json_text(record->name));
	json_object_object_add(json, "image", json_text(record->image));
	return json;
}

/* The file gets its name when it is whole, so that a writer that is killed leaves nothing. */
static int write_file(int directory_fd, const char *name, const char *text)
{
	char by_fd[32];
	cleanup_close int fd = openat(directory_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || write_all(fd, text, strlen(text)) < 0)
		return -1;
	snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd);
	int result = linkat(AT_FDCWD, by_fd, directory_fd, name, AT_SYMLINK_FOLLOW);
	return result < 0 && errno == EEXIST ? 0 : result;
}

/* Call VISIT for each record of a container that runs, and remove the others. */
static void visit_records(int directory_fd, void (*visit)(void *context, int directory_fd, const struct record *record),
                          void *context)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	if (!directory) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		struct record record = {0};
		if (!parse_file_name(entry->d_name, &record))
			continue;
		if (!is_alive(&record))
			unlinkat(directory_fd, entry->d_name, 0);
		else if (visit)
			visit(context, directory_fd, &record);
	}
}

int record_write(const char *directory, const char *id, pid_t init_pid, const struct container_attrs *attrs,
                 struct error *err)
{
	struct record record = {.init_pid = init_pid};
	char name[NAME_MAX + 1], pid[16];
	if (!is_id(id))
		return error_set(err, REASON_RECORD,
		                 "the container's id is too long or has other characters than A-Z a-z "
		                 "0-9 _ + - .");
	snprintf(record.id, sizeof record.id, "%s", id);
	if (start_of(init_pid, &record.init_start) < 0)
		return error_set_errno(err, errno, REASON_RECORD, "process %d", (int)init_pid);
	snprintf(pid, sizeof pid, "%d", (int)init_pid);
	record.mount_ns = mount_ns_of(pid);
	if (record.mount_ns == mount_ns_of("self"))
		record.mount_ns = 0;
	copy_name(record.pod_namespace, attrs->pod_namespace);
	copy_name(record.pod, attrs->pod);
	copy_name(record.name, attrs->container);
	copy_name(record.image, attrs->image);
	format_file_name(&record, name, sizeof name);

	cleanup_close int fd = open_directory(directory);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_RECORD, "%s", directory);
	visit_records(fd, NULL, NULL);
	json_object *json = to_json(&record);
	const char *text = json ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN) : NULL;
	errno = ENOMEM;
	int result = text ? write_file(fd, name, text) : -1;
	if (result < 0)
		error_set_errno(err, errno, REASON_RECORD, "%s/%s", directory, name);
	json_object_put(json);
	return result;
}

void record_sweep(const char *directory)
{
	cleanup_close int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		visit_records(fd, NULL, NULL);
}

static void read_name(json_object *json, const char *key, char *name)
{
	json_object *value = json_object_object_get(json, key);
	snprintf(name, RECORD_NAME_BYTES, "%s", value ? json_object_get_string(value) : "");
}

static void add_record(void *context, int directory_fd, const struct record *record)
{
	struct records *records = context;
	char name[NAME_MAX + 1];
	cleanup_free char *text = NULL;
	format_file_name(record, name, sizeof name);
	struct record *larger =
	    records->count < RECORDS_MAX ? realloc(records->list, (records->count + 1) * sizeof *larger) : NULL;
	if (!larger)
		return;
	records->list = larger;
	if (read_file_at(directory_fd, name, FILE_MAX_BYTES, &text, NULL) < 0)
		return;
	json_object *json = json_tokener_parse(text);
	if (json_object_is_type(json, json_type_object)) {
		struct record *added = &records->list[records->count++];
		*added = *record;
		added->mount_ns = json_object_get_uint64(json_object_object_get(json, "mount_namespace"));
		read_name(json, "namespace", added->pod_namespace);
		read_name(json, "pod", added->pod);
		read_name(json, "container", added->name);
		read_name(json, "image", added->image);
	}
	json_object_put(json);
}

void records_read(const char *directory, struct records *out)
{
	*out = (struct records){0};
	cleanup_close int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		visit_records(fd, add_record, out);
}

const struct record *records_find(const struct records *records, pid_t pid)
{
	char text[16];
	snprintf(text, sizeof text, "%d", (int)pid);
	uint64_t mount_ns = records->count ? mount_ns_of(text) : 0;
	for (size_t i = 0; i < records->count; i++) {
		const struct record *record = &records->list[i];
		if (record->init_pid == pid || (record->mount_ns && record->mount_ns == mount_ns))
			return record;
	}
	return NULL;
}

const char *record_label(const struct record *record, char *buf, size_t buf_bytes)
{
	char label[3 * RECORD_NAME_BYTES + 3];
	if (record->pod[0])
		snprintf(label, sizeof label, "%s%s%s%s%s", record->pod_namespace, record->pod_namespace[0] ? "/" : "",
		         record->pod, record->name[0] ? "/" : "", record->name);
	else
		snprintf(label, sizeof label, "%.*s", SHORT_ID_LENGTH, record->id);
	return text_printable(label, buf, buf_bytes);
}

void records_free(struct records *records)
{
	free(records->list);
	*records = (struct records){0};
}
