/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/json_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "policy/internal.h"

#define NODES_AT_ONCE 128

/* Up to so many keys are compared each with each. */
#define KEYS_COMPARED 8

struct reader {
	struct policy *policy;
	const char *at;
	char *strings; /* room for those that are still to come: none takes more than it does in the text */
	struct json_node *nodes;
	unsigned nodes_left;
	bool no_memory;
};

static bool read_value(struct reader *reader, unsigned depth, struct json_node *out);

static struct json_node *new_node(struct reader *reader)
{
	if (reader->nodes_left == 0) {
		reader->nodes = policy_alloc(reader->policy, NODES_AT_ONCE * sizeof reader->nodes[0]);
		reader->nodes_left = reader->nodes ? NODES_AT_ONCE : 0;
		reader->no_memory = !reader->nodes;
	}
	return reader->nodes_left ? &reader->nodes[--reader->nodes_left] : NULL;
}

static void skip_space(struct reader *reader)
{
	while (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\t' || *reader->at == '\r')
		reader->at++;
}

/* Step over blanks, and C if that is what comes. */
static bool take(struct reader *reader, char c)
{
	skip_space(reader);
	if (*reader->at != c)
		return false;
	reader->at++;
	return true;
}

static bool take_word(struct reader *reader, const char *word)
{
	size_t len = strlen(word);
	if (strncmp(reader->at, word, len) != 0)
		return false;
	reader->at += len;
	return true;
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *at)
{
	int32_t value = 0;
	for (int i = 0; i < 4; i++) {
		char c = at[i];
		int digit = c >= '0' && c <= '9'                     ? c - '0'
		            : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
		                                                     : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static void put_code(struct reader *reader, uint32_t code)
{
	char *out = reader->strings;
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else {
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	}
	reader->strings = out;
}

/* Behind "\u": a character, or the halves of one; half of one alone is U+FFFD. */
static bool read_code(struct reader *reader)
{
	int32_t code = hex4(reader->at);
	if (code <= 0)
		return false;
	reader->at += 4;
	if (code >= 0xd800 && code < 0xdc00 && reader->at[0] == '\\' && reader->at[1] == 'u') {
		int32_t low = hex4(reader->at + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			reader->at += 6;
			put_code(reader, 0x10000U + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
			return true;
		}
	}
	put_code(reader, code >= 0xd800 && code < 0xe000 ? 0xfffdU : (uint32_t)code);
	return true;
}

static bool read_escape(struct reader *reader)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	char c = *++reader->at;
	const char *found = c ? strchr(letters, c) : NULL;
	reader->at += c != '\0';
	if (!found)
		return c == 'u' && read_code(reader);
	*reader->strings++ = meant[found - letters];
	return true;
}

/* From the opening quote on. NULL where it is none. */
static const char *read_string(struct reader *reader)
{
	const char *string = reader->strings;
	for (reader->at++; *reader->at != '"';) {
		uint32_t code;
		unsigned char c = (unsigned char)*reader->at;
		size_t len = c < 0x80 ? 1 : text_sequence(reader->at, &code);
		if (c == '\\') {
			if (!read_escape(reader))
				return NULL;
			continue;
		}
		if (c < 0x20 || len == 0)
			return NULL;
		for (; len > 0; len--)
			*reader->strings++ = *reader->at++;
	}
	reader->at++;
	*reader->strings++ = '\0';
	return string;
}

static bool take_digits(struct reader *reader)
{
	const char *from = reader->at;
	while (*reader->at >= '0' && *reader->at <= '9')
		reader->at++;
	return reader->at > from;
}

static bool read_number(struct reader *reader, struct json_node *out)
{
	const char *from = reader->at;
	out->kind = JSON_INTEGER;
	reader->at += *reader->at == '-';
	if (*reader->at == '0')
		reader->at++;
	else if (!take_digits(reader))
		return false;
	if (*reader->at == '.') {
		out->kind = JSON_NUMBER;
		reader->at++;
		if (!take_digits(reader))
			return false;
	}
	if (*reader->at == 'e' || *reader->at == 'E') {
		out->kind = JSON_NUMBER;
		reader->at++;
		reader->at += *reader->at == '+' || *reader->at == '-';
		if (!take_digits(reader))
			return false;
	}
	if (out->kind == JSON_INTEGER)
		out->integer = strtoll(from, NULL, 10);
	else
		out->number = strtod(from, NULL);
	return true;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Many keys: sorted, so that the same ones stand side by side. */
static bool many_keys_differ(struct reader *reader, const struct json_node *object)
{
	const char **keys = calloc(object->count, sizeof keys[0]);
	unsigned count = 0;
	if (!keys) {
		reader->no_memory = true;
		return false;
	}
	for (const struct json_node *member = object->first; member; member = member->next)
		keys[count++] = member->key;
	qsort(keys, count, sizeof keys[0], by_key);
	bool differ = true;
	for (unsigned i = 1; i < count; i++)
		differ &= strcmp(keys[i - 1], keys[i]) != 0;
	free(keys);
	return differ;
}

static bool keys_differ(struct reader *reader, const struct json_node *object)
{
	if (object->count > KEYS_COMPARED)
		return many_keys_differ(reader, object);
	for (const struct json_node *one = object->first; one; one = one->next) {
		for (const struct json_node *other = one->next; other; other = other->next) {
			if (strcmp(one->key, other->key) == 0)
				return false;
		}
	}
	return true;
}

/* From behind the opening bracket on. */
static bool read_list(struct reader *reader, unsigned depth, struct json_node *out)
{
	char end = out->kind == JSON_OBJECT ? '}' : ']';
	const struct json_node **link = &out->first;
	if (take(reader, end))
		return true;
	do {
		struct json_node *node = new_node(reader);
		if (!node)
			return false;
		skip_space(reader);
		if (out->kind == JSON_OBJECT &&
		    (*reader->at != '"' || !(node->key = read_string(reader)) || !take(reader, ':')))
			return false;
		if (!read_value(reader, depth + 1, node))
			return false;
		*link = node;
		link = &node->next;
		out->count++;
	} while (take(reader, ','));
	return take(reader, end) && (out->kind == JSON_ARRAY || keys_differ(reader, out));
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
static bool read_value(struct reader *reader, unsigned depth, struct json_node *out)
{
	if (depth >= JSON_DEPTH_MAX)
		return false;
	skip_space(reader);
	switch (*reader->at) {
	case '{':
	case '[': out->kind = *reader->at++ == '{' ? JSON_OBJECT : JSON_ARRAY; return read_list(reader, depth, out);
	case '"': out->kind = JSON_STRING; return (out->text = read_string(reader)) != NULL;
	case 't':
		out->kind = JSON_BOOLEAN;
		out->is_true = true;
		return take_word(reader, "true");
	case 'f': out->kind = JSON_BOOLEAN; return take_word(reader, "false");
	case 'n': return take_word(reader, "null");
	default: return read_number(reader, out);
	}
}

enum json_read json_tree_read(struct policy *policy, const char *text, size_t bytes, const struct json_node **root,
                              size_t *wrong_off)
{
	struct reader reader = {.policy = policy, .at = text, .strings = policy_alloc(policy, bytes + 1)};
	struct json_node *node = reader.strings ? new_node(&reader) : NULL;
	if (!node)
		return JSON_NO_MEMORY;
	bool is_right = read_value(&reader, 0, node);
	skip_space(&reader);
	*wrong_off = (size_t)(reader.at - text);
	if (is_right && *wrong_off == bytes) {
		*root = node;
		return JSON_READ;
	}
	return reader.no_memory ? JSON_NO_MEMORY : JSON_WRONG;
}
