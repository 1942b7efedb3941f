/* SPDX-License-Identifier: Apache-2.0 */
/*
 * findings.h - what the doctor finds: a list of lines, shown to people or as JSON.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

enum mark {
	MARK_GOOD,
	MARK_BAD,     /* does not work, or stops something from working */
	MARK_UNKNOWN, /* could not be found out */
	MARK_FACT,    /* neither good nor bad */
};

/* One column wide: a check mark and its like, or in ASCII if the locale has no UTF-8. */
const char *mark_sign(enum mark mark);

#define FINDING_NAME_BYTES 128

struct finding {
	const char *topic; /* "backing", "tracing", "limits", "switches", "host" */
	char name[FINDING_NAME_BYTES];
	enum mark mark;
	char text[400];
	char advice[400]; /* "": nothing to do */
};

struct findings {
	struct finding *list;
	size_t count;
};

/* Add a line; NAME, TEXT and ADVICE are copied, TOPIC must last. A line is lost if memory is short. */
void findings_add(struct findings *findings, const char *topic, const char *name, enum mark mark, const char *text,
                  const char *advice);

/* To standard output, aligned, a mark before each line; in colour if it is a terminal and NO_COLOR is not set. */
void findings_print(const struct findings *findings);

json_object *findings_to_json(const struct findings *findings);

void findings_free(struct findings *findings);
