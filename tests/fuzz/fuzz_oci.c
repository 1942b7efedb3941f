/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's config.json as a runtime writes it, or a stranger: the hook is added once, what was there is still
 * there, and the reader takes the result. And the command line of an OCI runtime.
 */
#include <json-c/json.h>
#include <stdbool.h>

#include "bundle_parse.h"
#include "fuzzing.h"
#include "inject.h"
#include "policy/json_strict.h"
#include "runtime_call.h"

#define HOOK      "/usr/libexec/hugexec/hugexec-oci-hook"
#define WORDS_MAX 16

/* As a reader says it, checked as its client does. Returns whether anything is told. */
static bool answer_about(const char *text, size_t bytes, struct bundle_answer *answer)
{
	struct error err = {0};
	bundle_parse(text, bytes, HOOK, answer);
	MUST(answer->status != BUNDLE_REFUSED || answer->offset <= bytes || answer->offset == BUNDLE_NO_OFFSET);
	int result = bundle_answer_check(answer, BUNDLE_ANSWER_BYTES(answer), "config.json", text, bytes, &err);
	MUST(result == 0 || strcmp(reason_word(err.code), "config") == 0); /* never nonsense */
	return result == 0;
}

static json_object *without_hooks(const char *text, size_t bytes)
{
	json_object *json = NULL;
	size_t offset;
	const char *what = NULL;
	MUST(strict_parse(text, bytes, &json, &offset, &what) == 0);
	json_object_object_del(json, "hooks");
	return json;
}

/* The hook is in CHANGED, once, and TEXT around it. */
static void check_changed(const char *text, size_t bytes, const struct bundle_answer *answer, const char *changed,
                          size_t changed_bytes)
{
	static struct bundle_answer again;
	bool is_first = answer->places[0].shape != BUNDLE_THERE;
	bool is_second = answer->places[1].shape != BUNDLE_THERE;
	size_t first = answer->places[is_first ? 0 : 1].offset, last = answer->places[is_second ? 1 : 0].offset;
	MUST(memcmp(text, changed, first < last ? first : last) == 0);
	size_t tail = bytes - (first > last ? first : last) -
	              (first > last ? answer->places[0] : answer->places[1]).replaced_bytes;
	MUST(memcmp(text + bytes - tail, changed + changed_bytes - tail, tail) == 0);
	MUST(answer_about(changed, changed_bytes, &again) && again.status == BUNDLE_OK);
	MUST(again.places[0].shape == BUNDLE_THERE && again.places[1].shape == BUNDLE_THERE);
	MUST(again.text_bytes == answer->text_bytes && memcmp(again.text, answer->text, again.text_bytes) == 0);
	json_object *before = without_hooks(text, bytes), *after = without_hooks(changed, changed_bytes);
	MUST(json_object_equal(before, after));
	json_object_put(before);
	json_object_put(after);
}

static void check_config(const char *text, size_t bytes)
{
	static struct bundle_answer answer;
	if (!answer_about(text, bytes, &answer))
		return;
	struct annotation *annotations = bundle_answer_annotations(&answer);
	MUST(annotations);
	free(annotations);
	if (answer.status != BUNDLE_OK)
		return;
	size_t changed_bytes;
	char *changed = inject_hook(text, bytes, answer.places, HOOK, &changed_bytes);
	MUST(changed);
	if (answer.places[0].shape == BUNDLE_THERE && answer.places[1].shape == BUNDLE_THERE)
		MUST(changed_bytes == bytes && memcmp(changed, text, bytes) == 0);
	else
		check_changed(text, bytes, &answer, changed, changed_bytes);
	free(changed);
}

static void check_command_line(char *text)
{
	char program[] = "hugexec-runtime";
	char *argv[WORDS_MAX + 1] = {program};
	int argc = 1;
	for (char *save, *word = strtok_r(text, " \n", &save); word && argc < WORDS_MAX;
	     word = strtok_r(NULL, " \n", &save))
		argv[argc++] = word;
	int before = argc;
	struct runtime_call call;
	runtime_call_parse(&argc, argv, &call);
	MUST(argc >= 1 && argc <= before && argv[argc] == NULL);
	MUST(!call.creates || (call.bundle && call.config));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	check_config(text, size);
	check_command_line(text);
	free(text);
	return 0;
}
