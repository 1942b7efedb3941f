/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reason.h - the reasons of reason.def as numbers. A word that is not in the list does not compile.
 */
#pragma once

enum reason {
	REASON_NONE,
#define REASON(name, word, class, text) REASON_##name,
#include "base/reason.def"
#undef REASON
	REASON_COUNT,
};

enum reason_class {
	REASON_CLASS_NONE, /* of REASON_NONE alone */
	REASON_CLASS_NOTHING_TO_DO,
	REASON_CLASS_DECIDED,
	REASON_CLASS_LIBRARIES,
	REASON_CLASS_TEXT,
	REASON_CLASS_BACKING,
	REASON_CLASS_LIMIT,
	REASON_CLASS_PROCESS,
	REASON_CLASS_POLICY,
	REASON_CLASS_HELPER,
	REASON_CLASS_OCI,
	REASON_CLASS_COMMAND,
};

/* The word; "" of REASON_NONE and of what is no reason, as a number that came from elsewhere may be. */
const char *reason_word(enum reason reason);

/* What kind of reason it is; REASON_CLASS_NONE of what is none. */
enum reason_class reason_class(enum reason reason);

/* The reason with that WORD; REASON_NONE if there is none. */
enum reason reason_find(const char *word);
