/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/json_position.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <string.h>

/* A position in text that is known to be valid JSON. */
struct scanner {
	const char *text;
	size_t bytes;
	size_t at;
};

static char peek(const struct scanner *scanner)
{
	return scanner->at < scanner->bytes ? scanner->text[scanner->at] : '\0';
}

static void skip_space(struct scanner *scanner)
{
	while (peek(scanner) && strchr(" \t\r\n", peek(scanner)))
		scanner->at++;
}

/* Step over a string; the scanner stands at its opening quote. */
static void skip_string(struct scanner *scanner)
{
	for (scanner->at++; scanner->at < scanner->bytes; scanner->at++) {
		if (peek(scanner) == '\\')
			scanner->at++;
		else if (peek(scanner) == '"')
			break;
	}
	scanner->at++;
}

/* Step over any value, without recursion: inside of brackets only their depth and strings matter. */
static void skip_value(struct scanner *scanner)
{
	int depth = 0;
	skip_space(scanner);
	do {
		char c = peek(scanner);
		if (c == '"') {
			skip_string(scanner);
		} else if (c == '{' || c == '[') {
			depth++;
			scanner->at++;
		} else if (c == '}' || c == ']') {
			depth--;
			scanner->at++;
		} else if (depth > 0) {
			scanner->at++;
		} else {
			while (scanner->at < scanner->bytes && !strchr(",]} \t\r\n", peek(scanner)))
				scanner->at++;
		}
	} while (depth > 0 && scanner->at < scanner->bytes);
}

/* The string of LEN bytes, quotes included, at START as json-c reads it: "\u0065xe" is "exe". NULL if memory is
 * short. */
static json_object *decode_string(const char *start, size_t len)
{
	json_tokener *tokener = json_tokener_new();
	json_object *string = tokener ? json_tokener_parse_ex(tokener, start, (int)len) : NULL;
	if (tokener)
		json_tokener_free(tokener);
	return string;
}

static bool string_is(const char *start, size_t len, const char *wanted)
{
	if (!memchr(start, '\\', len))
		return len == strlen(wanted) + 2 && memcmp(start + 1, wanted, len - 2) == 0;
	json_object *string = decode_string(start, len);
	bool same =
	    json_object_is_type(string, json_type_string) && strcmp(json_object_get_string(string), wanted) == 0;
	json_object_put(string);
	return same;
}

/*
 * From the '{' of an object to the value of KEY; KEY_AT gets the key's offset. False if the object has no such key.
 * Of a duplicate key the last one counts, as for json-c.
 */
static bool enter_member(struct scanner *scanner, const char *key, size_t *key_at)
{
	size_t value_at = SIZE_MAX;
	scanner->at++;
	for (skip_space(scanner); peek(scanner) == '"'; skip_space(scanner)) {
		size_t start = scanner->at;
		skip_string(scanner);
		bool found = string_is(scanner->text + start, scanner->at - start, key);
		skip_space(scanner);
		scanner->at++; /* ':' */
		skip_space(scanner);
		if (found) {
			*key_at = start;
			value_at = scanner->at;
		}
		skip_value(scanner);
		skip_space(scanner);
		if (peek(scanner) == ',')
			scanner->at++;
	}
	if (value_at != SIZE_MAX)
		scanner->at = value_at;
	return value_at != SIZE_MAX;
}

static bool enter_element(struct scanner *scanner, size_t index)
{
	scanner->at++;
	for (size_t i = 0; i < index && scanner->at < scanner->bytes; i++) {
		skip_value(scanner);
		skip_space(scanner);
		scanner->at++; /* ',' */
	}
	skip_space(scanner);
	return scanner->at < scanner->bytes;
}

/* Walk to PLACE. Recursion is as deep as the place, which the parser bounds. */
static bool walk(struct scanner *scanner, const struct json_place *place, size_t *key_at)
{
	if (!place) {
		skip_space(scanner);
		*key_at = scanner->at;
		return true;
	}
	if (!walk(scanner, place->parent, key_at))
		return false;
	if (place->key)
		return peek(scanner) == '{' && enter_member(scanner, place->key, key_at);
	*key_at = scanner->at;
	return peek(scanner) == '[' && enter_element(scanner, place->index);
}

size_t json_locate(const char *text, size_t bytes, const struct json_place *place, enum json_point point)
{
	for (;; place = place->parent) {
		struct scanner scanner = {text, bytes, 0};
		size_t key_at = 0;
		if (walk(&scanner, place, &key_at))
			return point == JSON_AT_KEY ? key_at : scanner.at;
		if (!place)
			return 0;
	}
}

size_t json_value_end(const char *text, size_t bytes, size_t at)
{
	struct scanner scanner = {text, bytes, at};
	skip_value(&scanner);
	return scanner.at;
}

static size_t duplicate_in_value(struct scanner *scanner, size_t from);

/* Whether SEEN, an object used as a set, has the string already; it does afterwards. */
static bool seen_before(json_object *seen, const char *start, size_t len)
{
	json_object *string = decode_string(start, len);
	const char *key = json_object_is_type(string, json_type_string) ? json_object_get_string(string) : NULL;
	bool before = key && json_object_object_get_ex(seen, key, NULL);
	if (key && !before)
		json_object_object_add(seen, key, NULL);
	json_object_put(string);
	return before;
}

static size_t duplicate_in_object(struct scanner *scanner, size_t from)
{
	json_object *seen = json_object_new_object();
	size_t found = SIZE_MAX;
	scanner->at++;
	for (skip_space(scanner); peek(scanner) == '"' && found == SIZE_MAX; skip_space(scanner)) {
		size_t start = scanner->at;
		skip_string(scanner);
		if (seen_before(seen, scanner->text + start, scanner->at - start) && start >= from) {
			found = start;
			break;
		}
		skip_space(scanner);
		scanner->at++; /* ':' */
		found = duplicate_in_value(scanner, from);
		skip_space(scanner);
		if (peek(scanner) == ',')
			scanner->at++;
	}
	scanner->at++;
	json_object_put(seen);
	return found;
}

static size_t duplicate_in_array(struct scanner *scanner, size_t from)
{
	scanner->at++;
	for (skip_space(scanner); peek(scanner) && peek(scanner) != ']'; skip_space(scanner)) {
		size_t found = duplicate_in_value(scanner, from);
		if (found != SIZE_MAX)
			return found;
		skip_space(scanner);
		if (peek(scanner) == ',')
			scanner->at++;
	}
	scanner->at++;
	return SIZE_MAX;
}

/* Recursion is as deep as the document, which json-c was told to bound. */
static size_t duplicate_in_value(struct scanner *scanner, size_t from)
{
	skip_space(scanner);
	if (peek(scanner) == '{')
		return duplicate_in_object(scanner, from);
	if (peek(scanner) == '[')
		return duplicate_in_array(scanner, from);
	skip_value(scanner);
	return SIZE_MAX;
}

size_t json_find_duplicate_key(const char *text, size_t bytes, size_t from)
{
	struct scanner scanner = {text, bytes, 0};
	return duplicate_in_value(&scanner, from);
}

void json_line_column(const char *text, size_t bytes, size_t offset, unsigned *line, unsigned *column)
{
	*line = 1;
	*column = 1;
	for (size_t i = 0; i < offset && i < bytes; i++) {
		if (text[i] == '\n') {
			(*line)++;
			*column = 1;
		} else {
			(*column)++;
		}
	}
}
