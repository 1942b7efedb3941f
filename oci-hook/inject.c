/* SPDX-License-Identifier: Apache-2.0 */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/utf8.h"
#include "bundle.h"
#include "bundle_ask.h"
#include "policy/container_attrs.h"
#include "policy/json_strict.h"

static const char *const stages[BUNDLE_STAGES] = BUNDLE_STAGE_NAMES;

/* A value in JSON that was made with enough memory; or NULL, and then what it was made of is gone, too. */
static json_object *list_of(json_object *value)
{
	json_object *list = value ? json_object_new_array() : NULL;
	if (list && json_object_array_add(list, value) == 0)
		return list;
	json_object_put(value);
	json_object_put(list);
	return NULL;
}

static int add_member(json_object *json, const char *key, json_object *value)
{
	if (json && value && json_object_object_add(json, key, value) == 0)
		return 0;
	json_object_put(value);
	return -1;
}

static int add_text(json_object *list, const char *text)
{
	json_object *json = json_object_new_string(text);
	return list && json ? json_object_array_add(list, json) : -1;
}

/* {"path": HOOK, "args": [its name, STAGE]}. No timeout: at its end the runtime would fail the container. */
static json_object *make_entry(const char *hook, int stage)
{
	const char *slash = strrchr(hook, '/');
	json_object *entry = json_object_new_object();
	json_object *args = json_object_new_array();
	if (add_text(args, slash ? slash + 1 : hook) < 0 || add_text(args, stages[stage]) < 0) {
		json_object_put(args);
		args = NULL;
	}
	if (add_member(entry, "path", json_object_new_string(hook)) == 0 && add_member(entry, "args", args) == 0)
		return entry;
	json_object_put(entry);
	return NULL;
}

/* {"createRuntime": [its entry], "poststop": [its entry]} */
static json_object *make_hooks(const char *hook)
{
	json_object *hooks = json_object_new_object();
	for (int stage = 0; stage < BUNDLE_STAGES; stage++) {
		if (add_member(hooks, stages[stage], list_of(make_entry(hook, stage))) < 0) {
			json_object_put(hooks);
			return NULL;
		}
	}
	return hooks;
}

/* JSON as text (free() it). json-c leaves out what it has no memory for, so that is looked at. Takes JSON over. */
static char *to_text(json_object *json)
{
	json_object *again = NULL;
	size_t offset;
	const char *what;
	const char *text =
	    json ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
	bool is_whole =
	    text && strict_parse(text, strlen(text), &again, &offset, &what) == 0 && json_object_equal(json, again);
	char *copy = is_whole ? strdup(text) : NULL;
	json_object_put(again);
	json_object_put(json);
	return copy;
}

/* What goes to the place of STAGE, without the comma before or behind it; NULL: no memory. */
static char *make_addition(const struct bundle_place *place, int stage, const char *hook)
{
	bool of_all = place->shape == BUNDLE_NO_HOOKS;
	if (place->shape == BUNDLE_LIST)
		return to_text(make_entry(hook, stage));
	json_object *value = of_all ? make_hooks(hook) : list_of(make_entry(hook, stage));
	if (place->replaced_bytes > 0)
		return to_text(value);
	/* A member: the object that has no other, without its braces. */
	json_object *object = json_object_new_object();
	if (add_member(object, of_all ? "hooks" : stages[stage], value) < 0) {
		json_object_put(object);
		return NULL;
	}
	char *text = to_text(object);
	if (text) {
		size_t bytes = strlen(text) - 2;
		memmove(text, text + 1, bytes);
		text[bytes] = '\0';
	}
	return text;
}

static bool needs_addition(const struct bundle_place *places, int stage)
{
	return places[stage].shape != BUNDLE_THERE && (places[stage].shape != BUNDLE_NO_HOOKS || stage == 0);
}

static bool needs_comma_before(const struct bundle_place *place)
{
	return place->shape == BUNDLE_LIST && !place->is_empty;
}

/* Two members may go to the same place: the first one is not the last then. */
static bool needs_comma_behind(const struct bundle_place *places, int stage)
{
	const struct bundle_place *place = &places[stage];
	if (place->shape == BUNDLE_LIST || place->replaced_bytes > 0)
		return false;
	bool is_followed = place->shape == BUNDLE_NO_STAGE && stage == 0 && places[1].shape == BUNDLE_NO_STAGE;
	return !place->is_empty || is_followed;
}

/* TEXT with the ADDITIONS (NULL: none) at their places, the lower first. */
static char *put_in(const char *text, size_t bytes, const struct bundle_place *places, char *const *additions,
                    size_t *changed_bytes)
{
	char *changed = NULL;
	FILE *to = open_memstream(&changed, changed_bytes);
	size_t done = 0;
	int first = places[0].offset <= places[1].offset ? 0 : 1;
	if (!to)
		return NULL;
	for (int i = 0; i < BUNDLE_STAGES; i++) {
		int stage = i == 0 ? first : !first;
		if (!additions[stage])
			continue;
		fwrite(text + done, 1, places[stage].offset - done, to);
		fprintf(to, "%s%s%s", needs_comma_before(&places[stage]) ? "," : "", additions[stage],
		        needs_comma_behind(places, stage) ? "," : "");
		done = places[stage].offset + places[stage].replaced_bytes;
	}
	fwrite(text + done, 1, bytes - done, to);
	bool is_whole = !ferror(to);
	if (fclose(to) == 0 && is_whole)
		return changed;
	free(changed);
	return NULL;
}

char *inject_hook(const char *text, size_t bytes, const struct bundle_place *places, const char *hook,
                  size_t *changed_bytes)
{
	char *additions[BUNDLE_STAGES] = {NULL};
	bool has_all = true;
	for (int stage = 0; stage < BUNDLE_STAGES; stage++) {
		if (needs_addition(places, stage))
			has_all &= (additions[stage] = make_addition(&places[stage], stage, hook)) != NULL;
	}
	char *changed = has_all ? put_in(text, bytes, places, additions, changed_bytes) : NULL;
	for (int stage = 0; stage < BUNDLE_STAGES; stage++)
		free(additions[stage]);
	return changed;
}

/* Write TEXT beside the file NAME in DIRECTORY_FD, like ABOUT in owner and mode, and put it in its place. */
static int replace_file(int directory_fd, const char *name, const char *text, size_t bytes, const struct stat *about,
                        struct error *err)
{
	char temporary[64];
	snprintf(temporary, sizeof temporary, ".hugexec-%d", (int)getpid());
	unlinkat(directory_fd, temporary, 0); /* left by a namesake that was killed here */
	cleanup_close int fd =
	    openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_CONFIG, "a new file in the bundle");
	if (write_all(fd, text, bytes) < 0 || fchown(fd, about->st_uid, about->st_gid) < 0 ||
	    fchmod(fd, about->st_mode & 07777) < 0 || renameat(directory_fd, temporary, directory_fd, name) < 0) {
		error_set_errno(err, errno, REASON_CONFIG, "writing it");
		unlinkat(directory_fd, temporary, 0);
		return -1;
	}
	return 0;
}

/* As inject_into_bundle(), of the file NAME, which is TEXT and is to become *CHANGED (free() it). */
static int edit(const char *name, const char *text, size_t bytes, const char *hook, const struct policy *policy,
                char **changed, size_t *changed_bytes, struct error *err)
{
	cleanup_free struct bundle_answer *answer = bundle_ask(name, text, bytes, hook, err);
	cleanup_free struct annotation *annotations = answer ? bundle_answer_annotations(answer) : NULL;
	if (!answer)
		return -1;
	if (!annotations)
		return error_set(err, REASON_CONFIG, "out of memory");
	const struct container_attrs attrs = container_attrs_of(annotations, answer->annotation_count);
	if (!policy_may_remap_container(policy, &attrs))
		return 0;
	if (answer->status == BUNDLE_NO_PLACE)
		return error_set(err, REASON_CONFIG, "%s: %s", name, answer->message);
	if (answer->places[0].shape == BUNDLE_THERE && answer->places[1].shape == BUNDLE_THERE)
		return 0;
	*changed = inject_hook(text, bytes, answer->places, hook, changed_bytes);
	return *changed ? 1 : error_set(err, REASON_CONFIG, "out of memory");
}

int inject_into_bundle(const char *bundle, const char *config, const char *hook, const struct policy *policy,
                       struct error *err)
{
	cleanup_free char *text = NULL;
	cleanup_free char *changed = NULL;
	char shown[PATH_MAX];
	size_t bytes, changed_bytes = 0;
	struct stat about;
	if (strcmp(text_printable(hook, shown, sizeof shown), hook) != 0)
		return error_set(err, REASON_CONFIG, "the hook's path cannot be written in JSON");
	cleanup_close int directory_fd = bundle_read(bundle, config, &text, &bytes, &about, err);
	if (directory_fd < 0)
		return -1;
	int result = edit(config, text, bytes, hook, policy, &changed, &changed_bytes, err);
	if (result > 0 && replace_file(directory_fd, config, changed, changed_bytes, &about, err) < 0)
		return -1;
	return result;
}
