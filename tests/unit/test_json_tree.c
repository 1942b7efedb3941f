/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json_tree - what hugexec reads at each start is what json-c makes of the same text, and no text that json_strict
 * refuses is read.
 */
#include "policy/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/internal.h"
#include "policy/json_strict.h"

#define ROUNDS 200000

static bool same(const struct json_node *node, json_object *other)
{
	switch (node->kind) {
	case JSON_NULL: return json_object_is_type(other, json_type_null);
	case JSON_BOOLEAN:
		return json_object_is_type(other, json_type_boolean) && node->is_true == json_object_get_boolean(other);
	case JSON_INTEGER:
		return json_object_is_type(other, json_type_int) && node->integer == json_object_get_int64(other);
	case JSON_NUMBER:
		return json_object_is_type(other, json_type_double) && node->number == json_object_get_double(other);
	case JSON_STRING:
		return json_object_is_type(other, json_type_string) &&
		       strcmp(node->text, json_object_get_string(other)) == 0;
	case JSON_ARRAY: break;
	case JSON_OBJECT: break;
	}
	bool is_array = node->kind == JSON_ARRAY;
	if (!json_object_is_type(other, is_array ? json_type_array : json_type_object) ||
	    node->count != (is_array ? json_object_array_length(other) : (size_t)json_object_object_length(other)))
		return false;
	size_t index = 0;
	struct json_object_iterator at = {NULL};
	if (!is_array)
		at = json_object_iter_begin(other);
	for (const struct json_node *each = node->first; each; each = each->next, index++) {
		json_object *value =
		    is_array ? json_object_array_get_idx(other, index) : json_object_iter_peek_value(&at);
		if (!is_array && strcmp(each->key, json_object_iter_peek_name(&at)) != 0)
			return false;
		if (!same(each, value))
			return false;
		if (!is_array)
			json_object_iter_next(&at);
	}
	return index == node->count;
}

static size_t wrong_off;

/* Whether it is read. It must be as json-c reads it; what is refused by one alone is told by the caller. */
static bool is_read(const char *text, bool *by_json_c)
{
	size_t offset, bytes = strlen(text);
	const char *what;
	const struct json_node *root = NULL;
	json_object *other = NULL;
	struct policy *policy = calloc(1, sizeof *policy);
	assert_non_null(policy);
	enum json_read read = json_tree_read(policy, text, bytes, &root, &wrong_off);
	assert_int_not_equal(read, JSON_NO_MEMORY);
	*by_json_c = strict_parse(text, bytes, &other, &offset, &what) == 0;
	if (read == JSON_READ && *by_json_c && !same(root, other))
		fail_msg("read otherwise: %s", text);
	if (read == JSON_WRONG)
		assert_true(wrong_off <= bytes);
	json_object_put(other);
	policy_free(policy);
	return read == JSON_READ;
}

static const char *const right[] = {
    "null",
    " true\n",
    "false",
    "0",
    "-1",
    "12.50",
    "1e3",
    "-0.5E-2",
    "999999999999999999999",
    "\"\"",
    "[]",
    "{}",
    "[1, [2, {\"a\": [null]}], \"x\"]",
    "{\"a\": 1, \"b\": {\"a\": 2}}",
    "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\\" \\\\ \\/ \\b\\f\\n\\r\\t\"",
    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
    "\"\x7f\"",
    "{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"10\":1}",
};
static const char *const wrong[] = {
    "",
    " ",
    "nul",
    "True",
    "nulls",
    "01",
    "+1",
    ".5",
    "1.",
    "1.e2",
    "1e",
    "-",
    "0x1",
    "NaN",
    "Infinity",
    "'a'",
    "\"a",
    "\"\t\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u0000\"",
    "\"\\",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1",
    "]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "1 2",
    "// x\n1",
    "1/**/",
    "{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"1\":1}",
};

static void test_texts(void **state)
{
	(void)state;
	bool by_json_c;
	for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
		if (!is_read(right[i], &by_json_c) || !by_json_c)
			fail_msg("not read: %s", right[i]);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		if (is_read(wrong[i], &by_json_c) || by_json_c)
			fail_msg("read: %s", wrong[i]);
	}
	/* No character, which json-c's own check lets pass in part. */
	assert_false(is_read("\"\xff\"", &by_json_c));
	assert_false(is_read("\"\xc0\x80\"", &by_json_c));
	assert_false(is_read("\"\xe2\x82\"", &by_json_c));
}

static void test_depth(void **state)
{
	(void)state;
	for (unsigned depth = 1; depth < 2 * JSON_DEPTH_MAX; depth++) {
		char text[4 * JSON_DEPTH_MAX + 2] = "";
		bool by_json_c;
		memset(text, '[', depth);
		text[depth] = '1';
		memset(text + depth + 1, ']', depth);
		assert_int_equal(is_read(text, &by_json_c), depth < JSON_DEPTH_MAX);
		assert_int_equal(by_json_c, depth < STRICT_DEPTH_MAX);
	}
}

/* A policy with a few bytes of it changed, taken away or repeated, many times over: both take it or neither. */
static void test_changed_texts(void **state)
{
	(void)state;
	static const char policy[] =
	    "{\"version\": 1, \"settings\": {\"follow\": \"none\", \"min_text\": \"2M\", \"follow_timeout\": 1.5e1},\n"
	    " \"rules\": [{\"name\": \"a\\u00e9\\n\", \"match\": {\"exe\": [\"/opt/*/x\", \"**\"], \"user\": -20}, "
	    "\"rebase\": true},"
	    " {\"match\": {}, \"libraries\": false, \"x\": null, \"y\": [[], {}]}]}";
	static const char bytes[] = "{}[]:,\"\\ \n\t019-+.eEu/ntfalsr'#";
	unsigned random = 1, read = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		char text[sizeof policy + 16];
		size_t len = sizeof policy - 1;
		memcpy(text, policy, sizeof policy);
		for (unsigned change = 0; change <= round % 3; change++) {
			random = random * 1103515245U + 12345U;
			size_t at = (random >> 8) % len;
			random = random * 1103515245U + 12345U;
			char c = bytes[(random >> 8) % (sizeof bytes - 1)];
			switch ((random >> 20) % 3) {
			case 0: text[at] = c; break;
			case 1:
				memmove(text + at, text + at + 1, len - at);
				len--;
				break;
			default:
				memmove(text + at + 1, text + at, len - at + 1);
				text[at] = c;
				len++;
			}
		}
		bool by_json_c, by_us = is_read(text, &by_json_c);
		/* json-c 0.16 takes -00, -.0 and 01.5, which are no numbers. */
		bool in_number = !by_us && wrong_off > 0 && strchr("0123456789-", text[wrong_off - 1]);
		if (by_us != by_json_c && !in_number)
			fail_msg("%s alone takes %s", by_us ? "json_tree" : "json-c", text);
		read += by_us;
	}
	/* Else nothing was compared. */
	assert_in_range(read, ROUNDS / 20, ROUNDS - ROUNDS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_texts),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_changed_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
