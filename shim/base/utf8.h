/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - bytes of unknown origin (paths, process names) made fit for JSON and for a terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether TEXT is valid UTF-8. */
bool text_is_utf8(const char *text);

/*
 * TEXT as valid UTF-8, in a fresh string (free() it): every byte that belongs to no valid sequence becomes U+FFFD.
 * NULL when out of memory.
 */
char *text_to_utf8(const char *text);

/*
 * TEXT as it may be shown on a terminal, into BUF (always terminated, cut if it is full): control characters and
 * what is no valid UTF-8 become "?", so that a file's name cannot move the cursor or forge a line. Returns BUF.
 */
const char *text_printable(const char *text, char *buf, size_t buf_bytes);
