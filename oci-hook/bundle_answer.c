/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle_answer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static bool is_place(const struct bundle_place *place, const char *text, size_t bytes)
{
	if (place->shape == BUNDLE_THERE)
		return true;
	if (place->shape >= BUNDLE_SHAPES || place->is_empty > 1 || place->offset < 1 || place->offset >= bytes)
		return false;
	const char *at = text + place->offset;
	if (place->shape == BUNDLE_LIST)
		return place->replaced_bytes == 0 && at[0] == ']';
	if (place->replaced_bytes == 0)
		return at[-1] == '{';
	return place->replaced_bytes == 4 && bytes - place->offset >= 4 && memcmp(at, "null", 4) == 0;
}

/* Whether both, places each for itself, can be written to: one behind the other, or one place for both. */
static bool agree(const struct bundle_place *a, const struct bundle_place *b)
{
	if ((a->shape == BUNDLE_NO_HOOKS) != (b->shape == BUNDLE_NO_HOOKS))
		return false;
	if (a->shape == BUNDLE_THERE || b->shape == BUNDLE_THERE)
		return true;
	bool same = a->offset == b->offset && a->shape == b->shape && a->replaced_bytes == b->replaced_bytes &&
	            a->is_empty == b->is_empty;
	if (a->shape == BUNDLE_NO_HOOKS)
		return same;
	if (a->offset == b->offset)
		return same && a->shape == BUNDLE_NO_STAGE && a->replaced_bytes == 0;
	return true; /* inside of a null is no place */
}

/* Whether TEXT is a NUL-terminated name and value for each annotation that is counted, and nothing else. */
static bool holds_annotations(const struct bundle_answer *answer)
{
	size_t strings = 0;
	if (answer->annotation_count > OCI_ANNOTATIONS_MAX)
		return false;
	if (answer->text_bytes > 0 && answer->text[answer->text_bytes - 1] != '\0')
		return false;
	for (size_t i = 0; i < answer->text_bytes; i++)
		strings += answer->text[i] == '\0';
	return strings == (size_t)2 * answer->annotation_count;
}

static int refuse(const struct bundle_answer *answer, const char *name, size_t bytes, struct error *err)
{
	if (answer->offset > bytes)
		return error_set(err, REASON_CONFIG, "%s: %s", name, answer->message);
	return error_set(err, REASON_CONFIG, "%s at byte %llu: %s", name, (unsigned long long)answer->offset,
	                 answer->message);
}

int bundle_answer_check(struct bundle_answer *answer, size_t answer_bytes, const char *name, const char *text,
                        size_t bytes, struct error *err)
{
	char message[BUNDLE_MESSAGE_MAX];
	if (answer_bytes < offsetof(struct bundle_answer, text) || answer->magic != BUNDLE_ANSWER_MAGIC ||
	    answer->text_bytes > BUNDLE_TEXT_MAX || answer_bytes != BUNDLE_ANSWER_BYTES(answer))
		return error_set(err, REASON_BUNDLE_READER, "no answer about %s", name);
	answer->message[sizeof answer->message - 1] = '\0';
	text_printable(answer->message, message, sizeof message);
	memcpy(answer->message, message, sizeof message);
	if (answer->status == BUNDLE_REFUSED)
		return refuse(answer, name, bytes, err);
	bool makes_sense = answer->status <= BUNDLE_NO_PLACE && answer->has_told_hook <= 1 && holds_annotations(answer);
	if (makes_sense && answer->status == BUNDLE_OK) {
		for (int i = 0; i < BUNDLE_STAGES; i++)
			makes_sense &= is_place(&answer->places[i], text, bytes);
		makes_sense = makes_sense && agree(&answer->places[0], &answer->places[1]);
	}
	return makes_sense ? 0 : error_set(err, REASON_BUNDLE_READER, "the answer about %s makes no sense", name);
}

struct annotation *bundle_answer_annotations(const struct bundle_answer *answer)
{
	struct annotation *list = calloc((size_t)answer->annotation_count + 1, sizeof *list);
	const char *at = answer->text;
	for (uint32_t i = 0; list && i < answer->annotation_count; i++) {
		list[i].name = at;
		at += strlen(at) + 1;
		list[i].value = at;
		at += strlen(at) + 1;
	}
	return list;
}
