/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_libraries.h - which libraries a program would load, and what would become of their text.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "policy/policy.h"

struct explained_library {
	char *path;
	bool is_later; /* loaded when the program runs */
	uint64_t text_bytes;
	uint64_t huge_bytes;   /* of it on huge pages, once it was prepared, and stopped for if it needs a stop */
	uint64_t copied_bytes; /* of its slots a private copy of each process */
	uint64_t shared_bytes; /* of its slots in the copy that all processes share */
	bool needs_stop;       /* the rest of what the policy wants is done at the program's entry point */
	bool is_awaited;       /* and of one that is loaded later, by a tracer that stays until then */
	struct error reason;   /* why HUGE_BYTES are not all whole slots, or none; unset: they are */
};

/* What of a program's libraries may come on huge pages. */
enum libraries_hope { HOPE_NONE, HOPE_LIBRARIES, HOPE_LATER /* only files that it loads when it runs */ };

struct explained_libraries {
	struct explained_library *list;
	unsigned count;
	bool wanted;             /* by the rule; if not, the list says what it leaves alone */
	uint64_t min_text_bytes; /* the rule's */
	struct error unknown;    /* set: there may be more */
};

/*
 * Find out what the program at EXE would load if the caller started it, even if SETTINGS do not want libraries.
 * Reads headers only, and changes nothing.
 */
void explain_libraries(const char *exe, const struct settings *settings, struct explained_libraries *out);

enum libraries_hope explained_libraries_hope(const struct explained_libraries *libraries);
void explained_libraries_print(const struct explained_libraries *libraries);
json_object *explained_libraries_to_json(const struct explained_libraries *libraries);
void explained_libraries_free(struct explained_libraries *libraries);
