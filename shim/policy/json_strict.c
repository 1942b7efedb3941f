/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/json_strict.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/json_position.h"

/* More than json-c 0.16 takes: 36 for each byte of an array of numbers, 51 of empty arrays; 890 for an object. */
#define TREE_BYTES_PER_BYTE   100
#define TREE_BYTES_PER_OBJECT 1200

#define CONTROL_CHARACTER "a control character in a string; write it as \\n, \\t or \\u00XX"

/* What the text shows and the tree does not. */
struct scan_result {
	size_t key_count;
	size_t offset; /* of the mistake */
	const char *mistake;
};

static size_t mistake(struct scan_result *found, size_t offset, const char *what)
{
	found->offset = offset;
	found->mistake = what;
	return SIZE_MAX;
}

/* From behind the opening quote to behind the closing one; SIZE_MAX after a mistake. */
static size_t scan_string(const char *text, size_t bytes, size_t at, struct scan_result *found)
{
	for (; at < bytes && text[at] != '"'; at++) {
		if ((unsigned char)text[at] < 0x20)
			return mistake(found, at, CONTROL_CHARACTER);
		if (text[at] == '\\' && strncmp(text + at + 1, "u0000", 5) == 0)
			return mistake(found, at, "a string cannot contain \\u0000");
		at += text[at] == '\\';
	}
	return at + 1;
}

/* One pass over text that json-c took. Up to the first mistake it is JSON, so quotes pair and each ':' has a key. */
static void scan(const char *text, size_t bytes, struct scan_result *found)
{
	for (size_t at = 0; at < bytes;) {
		char c = text[at++];
		if (c == '"')
			at = scan_string(text, bytes, at, found);
		else if (c == ':')
			found->key_count++;
		else if (c == '\'')
			at = mistake(found, at - 1, "strings stand in double quotes");
		else if (c == 'N' || c == 'I')
			at = mistake(found, at - 1, "NaN and Infinity are not JSON");
		else if (c == '.' && !isdigit((unsigned char)text[at]))
			at = mistake(found, at, "expected a digit behind the point");
	}
}

/* What json-c says (json_tokener.c), and what that means to somebody who looks at the text. */
static const struct {
	const char *words, *plain;
} plainer[] = {
    {"object value separator ',' expected", "a comma is missing before this"},
    {"array value separator ',' expected", "a comma is missing before this"},
    {"object property name separator ':' expected", "a colon is missing before this"},
    {"quoted object property name expected", "a key is expected here, in double quotes"},
    {"unexpected character", "nothing may stand here"},
    {"boolean expected", "expected true or false"},
    {"number expected",
     "no number in JSON, or too large a one: it begins with neither + nor 0, and has a digit behind the point"},
};

/* What people most often write that is no JSON, where json-c stopped at OFFSET; else in json-c's WORDS. */
static const char *describe(const char *text, size_t bytes, size_t offset, const char *words)
{
	char at = offset < bytes ? text[offset] : '\0';
	if (at == '/' || at == '#')
		return "JSON has no comments";
	if (at && (unsigned char)at < 0x20) /* json-c 0.18 looks itself; blanks and the like are no mistake elsewhere */
		return CONTROL_CHARACTER;
	for (size_t i = 0; i < sizeof plainer / sizeof plainer[0]; i++) {
		if (strcmp(words, plainer[i].words) == 0)
			words = plainer[i].plain;
	}
	if (at == ',')
		return "nothing stands before this comma";
	if (at != '}' && at != ']')
		return words;
	while (offset > 0 && isspace((unsigned char)text[offset - 1]))
		offset--;
	return offset > 0 && text[offset - 1] == ',' ? "nothing comes behind the last comma; take it away" : words;
}

/* Recursion is bounded by STRICT_DEPTH_MAX. */
static size_t count_keys(json_object *json)
{
	size_t count = 0;
	if (json_object_is_type(json, json_type_object)) {
		count = (size_t)json_object_object_length(json);
		json_object_object_foreach(json, key, value)
		{
			(void)key;
			count += count_keys(value);
		}
	} else if (json_object_is_type(json, json_type_array)) {
		size_t length = json_object_array_length(json);
		for (size_t i = 0; i < length; i++)
			count += count_keys(json_object_array_get_idx(json, i));
	}
	return count;
}

/*
 * Whether there is memory for the tree of TEXT. json-c (0.16, json_tokener.c) takes it for granted that there is some
 * for a name, and a process that dies of that executes no workload, so it is asked for before.
 */
static bool has_memory(const char *text, size_t bytes)
{
	size_t needed = (bytes + STRICT_DEPTH_MAX) * TREE_BYTES_PER_BYTE;
	for (const char *object = text; (object = memchr(object, '{', bytes - (size_t)(object - text))); object++)
		needed += TREE_BYTES_PER_OBJECT;
	char *memory = malloc(needed);
	__asm__ volatile("" : : "r"(memory) : "memory"); /* or the compiler would know better */
	free(memory);
	return memory != NULL;
}

/* What json-c makes of TEXT. */
struct parsed {
	json_object *root;
	enum json_tokener_error problem;
	size_t end;
};

/* Returns false if there is no memory. */
static bool parse(const char *text, size_t bytes, int flags, struct parsed *out)
{
	json_tokener *tokener = json_tokener_new_ex(STRICT_DEPTH_MAX);
	if (!tokener)
		return false;
	json_tokener_set_flags(tokener, flags);
	/* With the NUL, so that a number or nothing at all has an end. */
	out->root = json_tokener_parse_ex(tokener, text, (int)bytes + 1);
	out->problem = json_tokener_get_error(tokener);
	out->end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	return true;
}

/*
 * json-c 0.18, when it is strict, takes every byte beyond ASCII for a control character (its issues 875 and 892). So
 * it is strict about text in which these are letters, and the tree is made of what they are. They may only stand in
 * strings, so all else is the same. NULL: no memory.
 */
static char *ascii_copy(const char *text, size_t bytes)
{
	char *copy = malloc(bytes + 1);
	for (size_t at = 0; copy && at <= bytes; at++)
		copy[at] = (unsigned char)text[at] < 0x80 ? text[at] : 'x';
	return copy;
}

static bool parse_strictly(const char *text, size_t bytes, struct parsed *out)
{
	char *copy = ascii_copy(text, bytes);
	if (!copy)
		return false;
	bool is_ascii = memcmp(copy, text, bytes) == 0;
	bool result = parse(copy, bytes, JSON_TOKENER_STRICT, out);
	free(copy);
	if (!result || is_ascii || out->problem != json_tokener_success)
		return result;
	json_object_put(out->root);
	return parse(text, bytes, JSON_TOKENER_VALIDATE_UTF8, out);
}

int strict_parse_keys_apart(const char *text, size_t bytes, json_object **root, bool *has_twice, size_t *offset,
                            const char **what)
{
	struct parsed parsed = {0};
	*what = NULL;
	*offset = 0;
	if (!has_memory(text, bytes) || !parse_strictly(text, bytes, &parsed))
		return -1;
	*root = parsed.root;
	enum json_tokener_error problem = parsed.problem;
	struct scan_result found = {.offset = parsed.end};
	if (problem == json_tokener_error_parse_eof || problem == json_tokener_continue)
		found.mistake = "the JSON ends too early";
	else if (problem == json_tokener_error_depth)
		found.mistake = "nested too deeply";
	else if (problem != json_tokener_success)
		found.mistake = describe(text, bytes, found.offset, json_tokener_error_desc(problem));
	else
		scan(text, bytes, &found);
	/* A key that json-c dropped is missing in the tree: only then is it worth looking for. */
	*has_twice = !found.mistake && found.key_count != count_keys(*root);
	if (!found.mistake)
		return 0;
	json_object_put(*root);
	*root = NULL;
	*offset = found.offset < bytes ? found.offset : bytes; /* the NUL was parsed, too */
	*what = found.mistake;
	return -1;
}

int strict_parse(const char *text, size_t bytes, json_object **root, size_t *offset, const char **what)
{
	bool has_twice;
	if (strict_parse_keys_apart(text, bytes, root, &has_twice, offset, what) < 0)
		return -1;
	if (!has_twice)
		return 0;
	json_object_put(*root);
	*root = NULL;
	*offset = json_find_duplicate_key(text, bytes, 0);
	*what = KEY_TWICE;
	return -1;
}
