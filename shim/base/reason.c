/* SPDX-License-Identifier: Apache-2.0 */
#include "base/reason.h"

#include <string.h>

static const struct {
	const char *word;
	enum reason_class class;
} reasons[REASON_COUNT] = {
    [REASON_NONE] = {"", REASON_CLASS_NONE},
#define REASON(name, word, class, text) [REASON_##name] = {word, REASON_CLASS_##class},
#include "base/reason.def"
#undef REASON
};

const char *reason_word(enum reason reason)
{
	return (unsigned)reason < REASON_COUNT ? reasons[reason].word : "";
}

enum reason_class reason_class(enum reason reason)
{
	return (unsigned)reason < REASON_COUNT ? reasons[reason].class : REASON_CLASS_NONE;
}

enum reason reason_find(const char *word)
{
	unsigned reason = REASON_COUNT - 1;
	while (reason != REASON_NONE && strcmp(reasons[reason].word, word) != 0)
		reason--;
	return (enum reason)reason;
}
