/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_strict.h - from text to a json-c tree, with what json-c lets pass even when told to be strict refused:
 * single-quoted keys, NaN and Infinity, "1.", raw control characters and \u0000 in strings, and keys that are there
 * twice (json-c 0.16 keeps the last one and says nothing).
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#define STRICT_DEPTH_MAX 32

/*
 * Parse TEXT (NUL-terminated, BYTES without the NUL) into *ROOT, which may be NULL for the document "null".
 * Returns 0, or -1 with the offset of the mistake and what it is; *WHAT is NULL if there is no memory.
 */
int strict_parse(const char *text, size_t bytes, json_object **root, size_t *offset, const char **what);

/*
 * The same, but keys that are there twice are no mistake here, for a caller that tells of them with all else that is
 * wrong: then *HAS_TWICE, and *ROOT has the last one of each.
 */
int strict_parse_keys_apart(const char *text, size_t bytes, json_object **root, bool *has_twice, size_t *offset,
                            const char **what);

#define KEY_TWICE "duplicate key"
