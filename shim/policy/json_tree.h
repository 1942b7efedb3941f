/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_tree.h - from a policy's text to a tree, as fast as hugexec needs it at every start.
 *
 * json-c makes a hash table of 16 entries for each object: half a megabyte for 200 rules, more page faults than all
 * else that happens before COMMAND runs. This tree is lists in the policy's own memory. It takes RFC 8259 as it stands,
 * with keys that are there once; what is wrong with a text that it does not take, and where, json_strict.h tells.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;

enum json_kind { JSON_NULL, JSON_BOOLEAN, JSON_INTEGER, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node {
	const struct json_node *next; /* in the same array or object, as they stand in the text */
	const char *key;              /* of a member of an object */
	union {
		bool is_true;
		int64_t integer; /* the nearest there is to one that does not fit */
		double number;   /* one with a point or an exponent */
		const char *text;
		const struct json_node *first;
	};
	enum json_kind kind;
	unsigned count; /* of elements or members */
};

/* As in json_strict.h. */
#define JSON_DEPTH_MAX 32

enum json_read { JSON_READ, JSON_WRONG, JSON_NO_MEMORY };

/*
 * Read TEXT (NUL-terminated, BYTES without the NUL, no NUL in it) into *ROOT, which lives as long as POLICY. For
 * JSON_WRONG, WRONG_OFF gets the offset where it stopped.
 */
enum json_read json_tree_read(struct policy *policy, const char *text, size_t bytes, const struct json_node **root,
                              size_t *wrong_off);
