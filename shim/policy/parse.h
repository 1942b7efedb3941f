/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - what the parse_*.c share: a document being read, and how to complain about it.
 *
 * Each function gets a value and its place in the document, and either stores what the value says and returns 0, or
 * complains about the place and returns -1. Line and column are looked up then: only a wrong file pays for positions.
 */
#pragma once

#include "policy/internal.h"
#include "policy/json_position.h"

#define PATTERN_LENGTH_MAX 1024                     /* characters */
#define LIST_LENGTH_MAX    1024                     /* entries */
#define NUMBER_MAX         INT64_C(999999999999999) /* 15 digits, which a double holds as well */

#define MISTAKES_MAX 50 /* of a file that are told: each costs a walk through its text */

struct parser {
	struct policy *policy;
	const char *name; /* of the file, for messages */
	const char *text;
	size_t bytes;
	struct error *err;                 /* gets the first mistake */
	unsigned *mistakes;                /* found so far */
	const struct policy_sources *told; /* whose observer is told of each; NULL: nobody */
	bool leaves_out;                   /* the rule at hand is left out for a mistake, and read to its end */
	bool is_silent;                    /* nobody reads where the mistakes are */
};

/* Whether the rest is looked at after a mistake: if somebody wants to know them all. */
bool parser_goes_on(const struct parser *parser);

/* A mistake, "policy-invalid", with FILE:LINE:COLUMN and the message. Returns -1. */
int complain(const struct parser *parser, const struct json_place *place, enum json_point point, const char *format,
             ...) __attribute__((format(printf, 4, 5)));
int complain_at(const struct parser *parser, size_t offset, const char *message);
int complain_unknown_key(const struct parser *parser, const struct json_place *place, const char *const *known);
int complain_memory(const struct parser *parser);

int parse_string(const struct parser *parser, const struct json_place *place, json_object *value, const char **out);
int parse_bool(const struct parser *parser, const struct json_place *place, json_object *value, bool *out);
/* A whole number from MIN to MAX; EXPECTED says in the complaint what it should have been. 2.0 is one, as in JSON
 * Schema. */
int parse_integer(const struct parser *parser, const struct json_place *place, json_object *value, int64_t min,
                  int64_t max, const char *expected, int64_t *out);
/* One of the NULL-terminated WORDS, as its index. */
int parse_word(const struct parser *parser, const struct json_place *place, json_object *value,
               const char *const *words, int *out);

typedef int entry_parser(const struct parser *parser, const struct json_place *place, json_object *value,
                         const char **out);

/* One entry, or a list of them, as a NULL-terminated list. */
int parse_entries(const struct parser *parser, const struct json_place *place, json_object *value,
                  entry_parser *parse_entry, const char ***out);

entry_parser parse_path_glob, parse_name_glob, parse_text_glob;

int parse_match(const struct parser *parser, const struct json_place *place, json_object *value, struct match *match);

#define SETTING_UNKNOWN 1

extern const char *const setting_keys[];
extern const char *const rule_keys[]; /* the settings, "name", "match" and "action" */

/* Store the setting that PLACE's key names. Returns 0, -1 with a complaint, or SETTING_UNKNOWN for no such setting. */
int parse_setting(const struct parser *parser, const struct json_place *place, json_object *value,
                  struct setting_set *set);
