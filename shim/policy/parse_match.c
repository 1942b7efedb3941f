/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rule's "match".
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/parse.h"

#define BUILD_ID_DIGITS_MIN 4
#define BUILD_ID_DIGITS_MAX 128
#define UID_LARGEST         INT64_C(4294967294)
#define USER_NAME_MAX       256

static int parse_build_id(const struct parser *parser, const struct json_place *place, json_object *value,
                          const char **out)
{
	const char *given = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
	size_t len = strlen(given);
	if (len < BUILD_ID_DIGITS_MIN || len > BUILD_ID_DIGITS_MAX || given[strspn(given, "0123456789abcdefABCDEF")])
		return complain(parser, place, JSON_AT_VALUE,
		                "expected the first %d to %d hexadecimal digits of a build id", BUILD_ID_DIGITS_MIN,
		                BUILD_ID_DIGITS_MAX);
	char *lower = policy_alloc(parser->policy, len + 1);
	if (!lower)
		return complain_memory(parser);
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)tolower((unsigned char)given[i]);
	*out = lower;
	return 0;
}

/* What no user's name can have: blanks, control characters, and what separates fields and paths. */
static bool is_user_name(const char *text)
{
	size_t characters = 0;
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p <= ' ' || *p == 0x7f || *p == ':' || *p == '/')
			return false;
		characters += (*p & 0xc0) != 0x80;
	}
	return characters > 0 && characters <= USER_NAME_MAX;
}

/* A user is a name, or a uid as a number or as digits. */
static int parse_user(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	static const char expected[] = "a user: a name, or a uid from 0 to 4294967294";
	if (!json_object_is_type(value, json_type_string)) {
		int64_t uid;
		if (parse_integer(parser, place, value, 0, UID_LARGEST, expected, &uid) < 0)
			return -1;
		char *digits = policy_alloc(parser->policy, 16);
		if (!digits)
			return complain_memory(parser);
		snprintf(digits, 16, "%u", (unsigned)uid);
		*out = digits;
		return 0;
	}
	const char *text = json_object_get_string(value);
	size_t digits = strspn(text, "0123456789");
	bool fits = digits <= 10 && strtoll(text, NULL, 10) <= UID_LARGEST;
	if (text[digits] == '\0' ? !(digits && fits) : !is_user_name(text))
		return complain(parser, place, JSON_AT_VALUE, "expected %s", expected);
	*out = text;
	return 0;
}

/* WHAT: "annotations", "labels". */
static int parse_named(const struct parser *parser, const struct json_place *place, json_object *value,
                       const char *what, struct annotation_match **list, size_t *list_count)
{
	if (!json_object_is_type(value, json_type_object) || json_object_object_length(value) == 0)
		return complain(parser, place, JSON_AT_VALUE, "expected %s: { \"NAME\": \"PATTERN\", ... }", what);
	size_t count = (size_t)json_object_object_length(value);
	*list = policy_alloc(parser->policy, count * sizeof **list);
	if (!*list)
		return complain_memory(parser);
	json_object_object_foreach(value, name, patterns)
	{
		struct json_place at = {place, name, 0};
		struct annotation_match *added = &(*list)[*list_count];
		added->name = name;
		if (parse_entries(parser, &at, patterns, parse_text_glob, &added->globs) < 0)
			return -1;
		(*list_count)++;
	}
	return 0;
}

static int parse_door(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	static const char *const words[] = {"shim", "hook", "attach", NULL};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	*out = words[word];
	return 0;
}

static int parse_via(const struct parser *parser, const struct json_place *place, json_object *value, unsigned *out)
{
	static const enum via doors[] = {VIA_SHIM, VIA_HOOK, VIA_ATTACH};
	const char **names;
	if (parse_entries(parser, place, value, parse_door, &names) < 0)
		return -1;
	for (; *names; names++) {
		for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++)
			*out |= strcmp(*names, via_name(doors[i])) == 0 ? (unsigned)doors[i] : 0;
	}
	return 0;
}

static int parse_share(const struct parser *parser, const struct json_place *place, json_object *value,
                       struct match *match)
{
	int64_t percent;
	if (parse_integer(parser, place, value, 0, 100, "a share of all hosts, from 0 to 100 percent", &percent) < 0)
		return -1;
	match->share = (unsigned)percent;
	match->has_share = true;
	return 0;
}

/* A key whose value is one entry or a list. Returns as parse_match(), or 1 for a key of another kind. */
static int parse_list(const struct parser *parser, const struct json_place *place, json_object *value,
                      struct match *match)
{
	const struct {
		const char *key;
		entry_parser *parse_entry;
		const char ***out;
	} lists[] = {
	    {"exe", parse_path_glob, &match->exe},       {"build_id", parse_build_id, &match->build_id},
	    {"user", parse_user, &match->user},          {"unit", parse_text_glob, &match->unit},
	    {"cgroup", parse_path_glob, &match->cgroup}, {"namespace", parse_text_glob, &match->pod_namespace},
	    {"pod", parse_text_glob, &match->pod},       {"container", parse_text_glob, &match->container},
	    {"image", parse_text_glob, &match->image},
	};
	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
		if (strcmp(place->key, lists[i].key) == 0)
			return parse_entries(parser, place, value, lists[i].parse_entry, lists[i].out);
	}
	return 1;
}

int parse_match(const struct parser *parser, const struct json_place *place, json_object *value, struct match *match)
{
	static const char *const keys[] = {"exe",       "build_id", "user",       "unit",  "cgroup", "namespace", "pod",
	                                   "container", "image",    "annotation", "label", "via",    "share",     NULL};
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected an object; {} matches every program");
	bool is_wrong = false;
	json_object_object_foreach(value, key, wanted)
	{
		struct json_place at = {place, key, 0};
		int result = parse_list(parser, &at, wanted, match);
		if (result > 0 && strcmp(key, "annotation") == 0)
			result = parse_named(parser, &at, wanted, "annotations", &match->annotations,
			                     &match->annotation_count);
		else if (result > 0 && strcmp(key, "label") == 0)
			result = parse_named(parser, &at, wanted, "labels", &match->labels, &match->label_count);
		else if (result > 0 && strcmp(key, "via") == 0)
			result = parse_via(parser, &at, wanted, &match->via);
		else if (result > 0 && strcmp(key, "share") == 0)
			result = parse_share(parser, &at, wanted, match);
		else if (result > 0)
			result = complain_unknown_key(parser, &at, keys);
		is_wrong |= result < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
	}
	return is_wrong ? -1 : 0;
}
