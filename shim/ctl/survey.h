/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey.h - of what was watched: for each object how much of its text is touched, and what hugexec would make of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/advice.h"
#include "ctl/watch.h"

#define SURVEYED_MAX 24 /* those in which most of the time was spent */

struct surveyed {
	const struct code_object *object; /* the watch's */
	unsigned index;                   /* of it */
	double time_share;
	struct touched touched;
	bool is_program;     /* and not a library */
	uint64_t text_bytes; /* as mapped; 0: the process has ended before that was known */
	uint64_t rss_bytes, huge_bytes;
	bool is_expected;        /* the file's headers were read */
	uint64_t expected_bytes; /* on huge pages in place (backing file) under hugexec */
};

struct survey {
	struct surveyed list[SURVEYED_MAX];
	unsigned count;
	struct advice_input input; /* but for HUGE_TLB */
};

/* Looks at the processes again, which may have ended, and reads the headers of files. Never fails. */
void survey_make(struct watch *watch, struct survey *out);

/* What of the text would become resident that is not: of the page cache, which all processes share. */
uint64_t surveyed_more_bytes(const struct surveyed *surveyed);
