/* SPDX-License-Identifier: Apache-2.0 */
#include "oci_state.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/json_strict.h"

/* pid_max is at most 4194304 (proc_sys_kernel(5)). */
#define PID_MAX 4194304

static int wrong(struct error *err, const char *key, const char *expected)
{
	return error_set(err, REASON_OCI_STATE, "\"%s\": expected %s", key, expected);
}

/* The string KEY of JSON into BUF; -1 if there is none, or it is too long or has a NUL in it. */
static int read_string(json_object *json, const char *key, char *buf, size_t buf_bytes, struct error *err)
{
	json_object *value = json_object_object_get(json, key);
	if (!json_object_is_type(value, json_type_string))
		return wrong(err, key, "a string");
	const char *text = json_object_get_string(value);
	size_t bytes = (size_t)json_object_get_string_len(value);
	if (bytes == 0 || bytes >= buf_bytes || strlen(text) != bytes)
		return error_set(err, REASON_OCI_STATE, "\"%s\": expected 1 to %zu bytes", key, buf_bytes - 1);
	memcpy(buf, text, bytes + 1);
	return 0;
}

static int read_status(json_object *root, enum oci_status *out, struct error *err)
{
	static const char *const names[] = {"creating", "created", "running", "stopped"};
	char name[16];
	if (read_string(root, "status", name, sizeof name, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(name, names[i]) == 0) {
			*out = (enum oci_status)i;
			return 0;
		}
	}
	return wrong(err, "status", "creating, created, running or stopped");
}

static int read_pid(json_object *root, enum oci_status status, pid_t *out, struct error *err)
{
	json_object *value = json_object_object_get(root, "pid");
	*out = 0;
	if (status == OCI_STOPPED)
		return 0;
	int64_t pid = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
	if (pid < 2 || pid > PID_MAX)
		return wrong(err, "pid", "the number of a process");
	*out = (pid_t)pid;
	return 0;
}

static bool has_annotation(const struct oci_state *state, const char *name)
{
	for (size_t i = 0; i < state->annotation_count; i++) {
		if (strcmp(state->annotations[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Room for COUNT annotations more. */
static int make_room(struct oci_state *state, size_t count, enum reason reason, struct error *err)
{
	size_t most = state->annotation_count + count;
	if (most > OCI_ANNOTATIONS_MAX)
		return error_set(err, reason, "\"annotations\": more than %d", OCI_ANNOTATIONS_MAX);
	struct annotation *larger = realloc(state->annotations, (most + 1) * sizeof larger[0]);
	if (!larger)
		return error_set(err, reason, "out of memory");
	state->annotations = larger;
	return 0;
}

static int read_annotations(struct oci_state *state, json_object *json, struct error *err)
{
	if (!json)
		return 0;
	if (!json_object_is_type(json, json_type_object))
		return wrong(err, "annotations", "an object");
	if (make_room(state, (size_t)json_object_object_length(json), REASON_OCI_STATE, err) < 0)
		return -1;
	json_object_object_foreach(json, name, value)
	{
		if (!json_object_is_type(value, json_type_string))
			return error_set(err, REASON_OCI_STATE, "\"annotations\": \"%.60s\": expected a string", name);
		state->annotations[state->annotation_count++] =
		    (struct annotation){name, json_object_get_string(value)};
	}
	return 0;
}

static int read_all_keys(struct oci_state *state, struct error *err)
{
	json_object *root = state->root;
	if (!json_object_is_type(root, json_type_object))
		return error_set(err, REASON_OCI_STATE, "expected a JSON object");
	if (read_string(root, "id", state->id, sizeof state->id, err) < 0 ||
	    read_status(root, &state->status, err) < 0 || read_pid(root, state->status, &state->pid, err) < 0 ||
	    read_string(root, "bundle", state->bundle, sizeof state->bundle, err) < 0)
		return -1;
	if (state->bundle[0] != '/')
		return wrong(err, "bundle", "an absolute path");
	return read_annotations(state, json_object_object_get(root, "annotations"), err);
}

int oci_state_parse(const char *text, size_t bytes, struct oci_state *out, struct error *err)
{
	size_t offset;
	const char *what;
	*out = (struct oci_state){0};
	if (strict_parse(text, bytes, &out->root, &offset, &what) < 0)
		return error_set(err, REASON_OCI_STATE, "at byte %zu: %s", offset, what ? what : "out of memory");
	if (read_all_keys(out, err) == 0)
		return 0;
	oci_state_free(out);
	return -1;
}

int oci_state_add_annotations(struct oci_state *state, const struct annotation *annotations, size_t count,
                              struct error *err)
{
	if (make_room(state, count, REASON_CONFIG, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (!has_annotation(state, annotations[i].name))
			state->annotations[state->annotation_count++] = annotations[i];
	}
	return 0;
}

void oci_state_free(struct oci_state *state)
{
	free(state->annotations);
	json_object_put(state->root);
	*state = (struct oci_state){0};
}
