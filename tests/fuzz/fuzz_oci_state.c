/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a runtime tells a hook on standard input, and the annotations of a config.json beside it (after a NUL).
 */
#include "bundle_parse.h"
#include "fuzzing.h"
#include "oci_state.h"

static void check_annotations(const struct oci_state *state)
{
	MUST(state->annotation_count <= OCI_ANNOTATIONS_MAX);
	for (size_t i = 0; i < state->annotation_count; i++) {
		MUST(state->annotations[i].name && state->annotations[i].value);
		for (size_t j = 0; j < i; j++)
			MUST(strcmp(state->annotations[i].name, state->annotations[j].name) != 0);
	}
}

static void add_config(struct oci_state *state, const char *text)
{
	static struct bundle_answer answer;
	struct error err = {0};
	size_t bytes = strlen(text);
	bundle_parse(text, bytes, NULL, &answer);
	if (bundle_answer_check(&answer, BUNDLE_ANSWER_BYTES(&answer), "config.json", text, bytes, &err) < 0) {
		MUST(strcmp(reason_word(err.code), "config") == 0);
		return;
	}
	struct annotation *annotations = bundle_answer_annotations(&answer);
	MUST(annotations);
	if (oci_state_add_annotations(state, annotations, answer.annotation_count, &err) < 0)
		MUST(error_is_set(&err));
	free(annotations);
	check_annotations(state);
	/* Their strings are the answer's: not to be looked at any more. */
	state->annotation_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_state state;
	struct error err = {0};
	char *text = malloc(size + 1);
	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	size_t bytes = strlen(text);
	if (oci_state_parse(text, bytes, &state, &err) < 0) {
		MUST(error_is_set(&err));
		free(text);
		return 0;
	}
	/* The id is checked once more where it becomes a file's name. */
	MUST(state.id[0] != '\0' && memchr(state.id, '\0', sizeof state.id));
	MUST(state.pid > 0 || (state.pid == 0 && state.status == OCI_STOPPED));
	MUST(state.bundle[0] == '/' && memchr(state.bundle, '\0', sizeof state.bundle));
	check_annotations(&state);
	add_config(&state, bytes < size ? text + bytes + 1 : "{\"annotations\":{\"k8s\":\"pod\",\"a\":\"c\"}}");
	oci_state_free(&state);
	free(text);
	return 0;
}
