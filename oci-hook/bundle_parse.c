/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle_parse.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bundle.h"
#include "policy/json_position.h"
#include "policy/json_strict.h"
#include "told_container.h"

static const char *const stages[BUNDLE_STAGES] = BUNDLE_STAGE_NAMES;

static void say(struct bundle_answer *answer, enum bundle_status status, size_t offset, const char *message)
{
	answer->status = status;
	answer->offset = offset;
	snprintf(answer->message, sizeof answer->message, "%s", message);
}

/* Add STRING to the answer's text. */
static bool add_text(struct bundle_answer *answer, const char *string)
{
	size_t bytes = strlen(string) + 1;
	if (bytes > sizeof answer->text - answer->text_bytes)
		return false;
	memcpy(answer->text + answer->text_bytes, string, bytes);
	answer->text_bytes += (uint32_t)bytes;
	return true;
}

static bool add_annotation(struct bundle_answer *answer, const char *name, const char *value)
{
	if (answer->annotation_count == OCI_ANNOTATIONS_MAX || !add_text(answer, name) || !add_text(answer, value))
		return false;
	answer->annotation_count++;
	return true;
}

/* Returns false if the answer says what is wrong. */
static bool add_annotations(struct bundle_answer *answer, json_object *json, bool is_strict)
{
	char message[BUNDLE_MESSAGE_MAX];
	if (json && is_strict && !json_object_is_type(json, json_type_object)) {
		say(answer, BUNDLE_REFUSED, BUNDLE_NO_OFFSET, "\"annotations\": expected an object");
		return false;
	}
	if (!json_object_is_type(json, json_type_object))
		return true;
	json_object_object_foreach(json, name, value)
	{
		bool is_string = json_object_is_type(value, json_type_string);
		if (!is_string && !is_strict)
			continue;
		if (!is_string)
			snprintf(message, sizeof message, "\"annotations\": \"%.60s\": expected a string", name);
		else if (add_annotation(answer, name, json_object_get_string(value)))
			continue;
		else
			snprintf(message, sizeof message, "\"annotations\": more than %d, or than %d bytes",
			         OCI_ANNOTATIONS_MAX, BUNDLE_TEXT_MAX);
		say(answer, BUNDLE_REFUSED, BUNDLE_NO_OFFSET, message);
		return false;
	}
	return true;
}

/* runc, as Go does, takes "Hooks" for "hooks", too, and of two the last one. */
static bool has_other_spelling(json_object *parent, const char *key)
{
	json_object_object_foreach(parent, name, value)
	{
		(void)value;
		if (strcasecmp(name, key) == 0 && strcmp(name, key) != 0)
			return true;
	}
	return false;
}

static bool has_hook(json_object *list, const char *hook)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *entry = json_object_array_get_idx(list, i);
		json_object *path =
		    json_object_is_type(entry, json_type_object) ? json_object_object_get(entry, "path") : NULL;
		if (json_object_is_type(path, json_type_string) && strcmp(json_object_get_string(path), hook) == 0)
			return true;
	}
	return false;
}

/* Whether ENTRY is hugexec's hook, with what its plugin knows. */
static bool is_told_hook(json_object *entry)
{
	json_object *path = json_object_object_get(entry, "path"), *args = json_object_object_get(entry, "args");
	const char *hook = json_object_is_type(path, json_type_string) ? json_object_get_string(path) : "";
	const char *slash = strrchr(hook, '/');
	if (!slash || strcmp(slash + 1, TOLD_HOOK_NAME) != 0 || !json_object_is_type(args, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(args); i++) {
		json_object *arg = json_object_array_get_idx(args, i);
		if (json_object_is_type(arg, json_type_string) &&
		    strncmp(json_object_get_string(arg), TOLD_HOOK_MARK, sizeof TOLD_HOOK_MARK - 1) == 0)
			return true;
	}
	return false;
}

static bool has_told_hook(json_object *root)
{
	json_object *hooks = json_object_object_get(root, "hooks");
	json_object *list =
	    json_object_is_type(hooks, json_type_object) ? json_object_object_get(hooks, stages[0]) : NULL;
	if (!json_object_is_type(list, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *entry = json_object_array_get_idx(list, i);
		if (json_object_is_type(entry, json_type_object) && is_told_hook(entry))
			return true;
	}
	return false;
}

/* The place for the member WANTED of PARENT, which has it not, or as null. */
static struct bundle_place place_for(const char *text, size_t bytes, enum bundle_shape shape, json_object *parent,
                                     const struct json_place *wanted)
{
	struct bundle_place place = {.shape = shape};
	if (json_object_object_get_ex(parent, wanted->key, NULL)) {
		place.offset = json_locate(text, bytes, wanted, JSON_AT_VALUE);
		place.replaced_bytes = sizeof "null" - 1;
	} else {
		place.offset = json_locate(text, bytes, wanted->parent, JSON_AT_VALUE) + 1;
		place.is_empty = json_object_object_length(parent) == 0;
	}
	return place;
}

/* Where HOOK goes in STAGE of HOOKS. Returns false if it is no array, or spelled in another way. */
static bool find_place(const char *text, size_t bytes, json_object *hooks, const struct json_place *stage,
                       const char *hook, struct bundle_place *out)
{
	json_object *list = json_object_object_get(hooks, stage->key);
	if (has_other_spelling(hooks, stage->key) || (list && !json_object_is_type(list, json_type_array)))
		return false;
	if (!list) {
		*out = place_for(text, bytes, BUNDLE_NO_STAGE, hooks, stage);
	} else if (!has_hook(list, hook)) {
		size_t begin = json_locate(text, bytes, stage, JSON_AT_VALUE);
		*out = (struct bundle_place){.shape = BUNDLE_LIST,
		                             .is_empty = json_object_array_length(list) == 0,
		                             .offset = json_value_end(text, bytes, begin) - 1};
	}
	return true;
}

static void find_places(const char *text, size_t bytes, json_object *root, const char *hook,
                        struct bundle_answer *answer)
{
	const struct json_place hooks_place = {.key = "hooks"};
	json_object *hooks = json_object_object_get(root, "hooks");
	if (has_other_spelling(root, "hooks") || (hooks && !json_object_is_type(hooks, json_type_object))) {
		say(answer, BUNDLE_NO_PLACE, BUNDLE_NO_OFFSET, "\"hooks\" is no object, or spelled in another way");
		return;
	}
	for (int i = 0; i < BUNDLE_STAGES; i++) {
		const struct json_place stage = {.parent = &hooks_place, .key = stages[i]};
		if (!hooks) {
			answer->places[i] = place_for(text, bytes, BUNDLE_NO_HOOKS, root, &hooks_place);
		} else if (!find_place(text, bytes, hooks, &stage, hook, &answer->places[i])) {
			char message[BUNDLE_MESSAGE_MAX];
			snprintf(message, sizeof message, "\"%s\" is no array, or spelled in another way", stages[i]);
			say(answer, BUNDLE_NO_PLACE, BUNDLE_NO_OFFSET, message);
			return;
		}
	}
}

/*
 * At least as many as TEXT has values: each but the first comes behind one of these. Those in strings are counted too,
 * for where a string ends is for the parser to say. This limits the parser's work, so that no slow processor needs a
 * longer time limit.
 */
static size_t count_values(const char *text, size_t bytes)
{
	size_t count = 1;
	for (size_t at = 0; at < bytes; at++)
		count += text[at] == ',' || text[at] == '[' || text[at] == '{';
	return count;
}

void bundle_parse(const char *text, size_t bytes, const char *hook, struct bundle_answer *answer)
{
	json_object *root = NULL;
	size_t offset;
	const char *what;
	/* Not its text, which is as large as the rest is small. */
	memset(answer, 0, offsetof(struct bundle_answer, text));
	answer->magic = BUNDLE_ANSWER_MAGIC;
	if (count_values(text, bytes) > BUNDLE_VALUES_MAX) {
		char message[BUNDLE_MESSAGE_MAX];
		snprintf(message, sizeof message, "more than %d values", BUNDLE_VALUES_MAX);
		say(answer, BUNDLE_REFUSED, BUNDLE_NO_OFFSET, message);
		return;
	}
	if (strict_parse(text, bytes, &root, &offset, &what) < 0) {
		say(answer, BUNDLE_REFUSED, what ? offset : BUNDLE_NO_OFFSET, what ? what : "out of memory");
		return;
	}
	answer->has_told_hook = json_object_is_type(root, json_type_object) && has_told_hook(root);
	if (!json_object_is_type(root, json_type_object))
		say(answer, BUNDLE_REFUSED, BUNDLE_NO_OFFSET, "expected a JSON object");
	else if (add_annotations(answer, json_object_object_get(root, "annotations"), hook == NULL) && hook)
		find_places(text, bytes, root, hook, answer);
	json_object_put(root);
}
