/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_position.h - where in a JSON text something stands. json-c does not keep positions, so they are looked for when
 * there is something to complain about.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A step from the root of a document to a value; the chain runs from the value upwards. */
struct json_place {
	const struct json_place *parent; /* NULL: the step is from the root */
	const char *key;                 /* member of an object; NULL: element INDEX of an array */
	size_t index;
};

enum json_point { JSON_AT_KEY, JSON_AT_VALUE };

/* Offset in TEXT (valid JSON, BYTES long) of what PLACE names (NULL: the root); of its key if POINT says so. */
size_t json_locate(const char *text, size_t bytes, const struct json_place *place, enum json_point point);

/* Offset behind the value that begins at AT in TEXT (valid JSON). */
size_t json_value_end(const char *text, size_t bytes, size_t at);

/* Offset of the first key at or behind FROM that its object has already had, or SIZE_MAX. TEXT is valid JSON. */
size_t json_find_duplicate_key(const char *text, size_t bytes, size_t from);

/* Line and column (both from 1; columns in bytes) of OFFSET. */
void json_line_column(const char *text, size_t bytes, size_t offset, unsigned *line, unsigned *column);
