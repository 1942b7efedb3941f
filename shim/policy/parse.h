/*
 * parse.h - what parse.c and parse_settings.c share: a document being read, and how to complain about it.
 */
#pragma once

#include "policy/internal.h"
#include "policy/locate.h"

struct parser {
	struct policy *policy;
	const char *name; /* of the file, for messages */
	const char *text;
	size_t bytes;
	struct error *err;
};

/* Set "policy-invalid" with FILE:LINE:COLUMN and the message. Returns -1. */
int complain(const struct parser *parser, const struct json_place *place, enum json_point point, const char *format,
             ...) __attribute__((format(printf, 4, 5)));
int complain_unknown_key(const struct parser *parser, const struct json_place *place, const char *const *known);

/* Each stores VALUE where it is of the wanted kind and returns 0, or complains about PLACE and returns -1. */
int parse_string(const struct parser *parser, const struct json_place *place, json_object *value, const char **out);
int parse_bool(const struct parser *parser, const struct json_place *place, json_object *value, bool *out);
int parse_word(const struct parser *parser, const struct json_place *place, json_object *value,
               const char *const *words, int *out);
int parse_globs(const struct parser *parser, const struct json_place *place, json_object *value, const char ***out);

#define SETTING_UNKNOWN 1

extern const char *const setting_keys[];
extern const char *const rule_keys[]; /* the settings, "name", "match" and "action" */

/* Store the setting that PLACE's key names. Returns 0, -1 with a complaint, or SETTING_UNKNOWN for no such setting. */
int parse_setting(const struct parser *parser, const struct json_place *place, json_object *value,
                  struct setting_set *set);
