/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comparison.h - what `hugexecctl compare` has found out, and how it tells it.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/paired.h"
#include "host/huge_tlb.h"

/* One thing that was measured of every run. */
struct measure {
	const char *name; /* "wall", as shown */
	const char *key;  /* "wall_us", as in JSON */
	enum unit { UNIT_TIME, UNIT_COUNT } unit;
	struct paired paired;
};

#define MEASURES_MAX       8
#define TEXT_LINES_MAX     16
#define TEXT_LINE_BYTES    512
#define COMPARE_NAME_BYTES 256

/* What hugexec said of a program that the command executed. */
struct reported {
	char exe[COMPARE_NAME_BYTES];
	char outcome[16], backing[16];
	char reason[TEXT_LINE_BYTES]; /* "": none */
	uint64_t text_bytes, huge_bytes, prepared_bytes;
	double held_us;
};

struct comparison {
	char *const *command;
	struct huge_tlb tlb;
	struct measure measures[MEASURES_MAX]; /* the first is the one that the verdict is about: wall-clock time */
	size_t measure_count;
	struct reported reported[TEXT_LINES_MAX]; /* of the last run under hugexec, in its order */
	size_t reported_count;
	bool plain_is_known; /* how much of plain's text was on huge pages half-way through a run */
	uint64_t plain_text_bytes, plain_huge_bytes;
	bool plain_without_huge; /* so plain was run with transparent huge pages switched off */
};

/* Whether hugexec has put text of any program on huge pages. */
bool comparison_is_remapped(const struct comparison *comparison);

/* A word for programs: "faster", "slower", "same", "unclear", "too-few", "not-remapped". */
const char *comparison_verdict(const struct comparison *comparison);

/* A line, and an object, of one measure; FIRST and SECOND: the keys of its medians. */
/* CHANGE (struct paired) as "-3.1", "+12.0" or ">+999": without the percent sign. */
const char *comparison_format_change(double change, char *buf, size_t buf_bytes);

void comparison_print_measure(const struct measure *measure);
json_object *comparison_measure_to_json(const struct measure *measure, const char *first, const char *second);

void comparison_print(const struct comparison *comparison);
void comparison_print_json(const struct comparison *comparison);
