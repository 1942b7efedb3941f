/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of values that a policy is made of.
 */
#include <stdio.h>
#include <string.h>

#include "policy/parse.h"

int parse_string(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	if (!json_object_is_type(value, json_type_string))
		return complain(parser, place, JSON_AT_VALUE, "expected a string");
	*out = json_object_get_string(value);
	return 0;
}

int parse_bool(const struct parser *parser, const struct json_place *place, json_object *value, bool *out)
{
	if (!json_object_is_type(value, json_type_boolean))
		return complain(parser, place, JSON_AT_VALUE, "expected true or false");
	*out = json_object_get_boolean(value);
	return 0;
}

int parse_integer(const struct parser *parser, const struct json_place *place, json_object *value, int64_t min,
                  int64_t max, const char *expected, int64_t *out)
{
	/* json-c clamps what does not fit, and MAX is far below that. */
	int64_t number = min - 1;
	if (json_object_is_type(value, json_type_int)) {
		number = json_object_get_int64(value);
	} else if (json_object_is_type(value, json_type_double)) {
		double given = json_object_get_double(value);
		if (given >= (double)min && given <= (double)max && given == (double)(int64_t)given)
			number = (int64_t)given;
	}
	if (number < min || number > max)
		return complain(parser, place, JSON_AT_VALUE, "expected %s", expected);
	*out = number;
	return 0;
}

static int complain_word(const struct parser *parser, const struct json_place *place, const char *given,
                         const char *const *words)
{
	char list[128] = "";
	for (int i = 0; words[i]; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s\"%s\"", i ? ", " : "", words[i]);
	if (!given)
		return complain(parser, place, JSON_AT_VALUE, "expected one of %s", list);
	return complain(parser, place, JSON_AT_VALUE, "\"%.64s\" is not one of %s", given, list);
}

int parse_word(const struct parser *parser, const struct json_place *place, json_object *value,
               const char *const *words, int *out)
{
	if (!json_object_is_type(value, json_type_string))
		return complain_word(parser, place, NULL, words);
	const char *given = json_object_get_string(value);
	for (int i = 0; words[i]; i++) {
		if (strcmp(given, words[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	return complain_word(parser, place, given, words);
}

int parse_entries(const struct parser *parser, const struct json_place *place, json_object *value,
                  entry_parser *parse_entry, const char ***out)
{
	bool is_list = json_object_is_type(value, json_type_array);
	size_t count = is_list ? json_object_array_length(value) : 1;
	if (count == 0)
		return complain(parser, place, JSON_AT_VALUE,
		                "an empty list matches nothing; leave the key out to match all");
	if (count > LIST_LENGTH_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a list has at most %d entries", LIST_LENGTH_MAX);
	const char **list = policy_alloc(parser->policy, (count + 1) * sizeof list[0]);
	if (!list)
		return complain_memory(parser);
	bool is_wrong = false;
	for (size_t i = 0; i < count; i++) {
		struct json_place entry_place = {place, NULL, i};
		const struct json_place *at = is_list ? &entry_place : place;
		json_object *entry = is_list ? json_object_array_get_idx(value, i) : value;
		is_wrong |= parse_entry(parser, at, entry, &list[i]) < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
	}
	*out = is_wrong ? NULL : list;
	return is_wrong ? -1 : 0;
}

/* A pattern is short, so that matching is fast whatever it says. Characters are counted, as JSON Schema does. */
static int parse_pattern(const struct parser *parser, const struct json_place *place, json_object *value,
                         const char **out)
{
	if (!json_object_is_type(value, json_type_string))
		return complain(parser, place, JSON_AT_VALUE, "expected a pattern: a string, or a list of strings");
	*out = json_object_get_string(value);
	size_t characters = 0;
	for (const char *p = *out; *p; p++)
		characters += ((unsigned char)*p & 0xc0) != 0x80;
	if (characters == 0)
		return complain(parser, place, JSON_AT_VALUE, "an empty pattern matches nothing");
	if (characters > PATTERN_LENGTH_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a pattern has at most %d characters",
		                PATTERN_LENGTH_MAX);
	return 0;
}

int parse_text_glob(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	return parse_pattern(parser, place, value, out);
}

/* Of the last part of a path. */
int parse_name_glob(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	if (parse_pattern(parser, place, value, out) < 0)
		return -1;
	if (strchr(*out, '/'))
		return complain(parser, place, JSON_AT_VALUE, "expected a name without slashes: \"env\", \"*-gcc\"");
	return 0;
}

/* Paths are absolute, so a pattern such as "*" or "bin/x" could never match: better said than found out. */
int parse_path_glob(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	if (parse_pattern(parser, place, value, out) < 0)
		return -1;
	const char *glob = *out;
	for (const char *stars = strstr(glob, "**"); stars; stars = strstr(stars + 2, "**")) {
		if ((stars > glob && stars[-1] != '/') || (stars[2] != '\0' && stars[2] != '/'))
			return complain(
			    parser, place, JSON_AT_VALUE,
			    "** stands alone between slashes, for any number of directories: \"/opt/**/*.so\"");
	}
	if (*glob != '/' && strncmp(glob, "**", 2) != 0)
		return complain(parser, place, JSON_AT_VALUE,
		                "paths begin with a slash: write \"/...\" or \"**/%.64s\"", glob);
	return 0;
}
