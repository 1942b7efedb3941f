/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer of any bytes about a config.json of any bytes, as a reader that was taken over might give it: what passes
 * the check can be read, shown and written by.
 */
#include "bundle_answer.h"
#include "fuzzing.h"
#include "inject.h"

#define HOOK "/usr/libexec/hugexec/hugexec-oci-hook"

static void check_annotations(const struct bundle_answer *answer)
{
	struct annotation *list = bundle_answer_annotations(answer);
	size_t bytes = 0;
	MUST(list);
	for (uint32_t i = 0; i < answer->annotation_count; i++)
		bytes += strlen(list[i].name) + strlen(list[i].value) + 2;
	MUST(bytes == answer->text_bytes);
	free(list);
}

/* Only ours is added, and no more than a null for each stage gone. */
static void check_places(const struct bundle_answer *answer, const char *text, size_t bytes)
{
	size_t changed_bytes;
	char *changed = inject_hook(text, bytes, answer->places, HOOK, &changed_bytes);
	MUST(changed && changed_bytes + (size_t)4 * BUNDLE_STAGES >= bytes && changed_bytes <= bytes + 512);
	MUST(changed_bytes >= bytes || strstr(text, "null"));
	free(changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bundle_answer answer;
	struct input input = {data, size};
	struct error err = {0};
	char *text = input_line(&input);
	size_t bytes = strlen(text), left;
	input_bytes(&input, &answer, offsetof(struct bundle_answer, text));
	left = input.left;
	input_bytes(&input, answer.text, left < sizeof answer.text ? left : sizeof answer.text);
	/* What would hardly ever be right by chance. */
	answer.magic = BUNDLE_ANSWER_MAGIC;
	answer.status %= 4;
	answer.text_bytes = (uint32_t)(left < sizeof answer.text ? left : sizeof answer.text);
	answer.annotation_count %= 8;
	answer.has_told_hook %= 3;
	for (int i = 0; i < BUNDLE_STAGES; i++) {
		answer.places[i].shape %= 5;
		answer.places[i].replaced_bytes &= 4;
		answer.places[i].is_empty &= 1;
		answer.places[i].offset &= 0x3f;
	}
	if (bundle_answer_check(&answer, BUNDLE_ANSWER_BYTES(&answer), "config.json", text, bytes, &err) == 0) {
		check_annotations(&answer);
		if (answer.status == BUNDLE_OK)
			check_places(&answer, text, bytes);
	} else {
		MUST(error_is_set(&err));
	}
	free(text);
	return 0;
}
