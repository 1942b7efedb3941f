/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle_parse.h - what hugexec-bundle-reader does with a config.json once it is locked up.
 */
#pragma once

#include <stddef.h>

#include "bundle_answer.h"

/*
 * Parse the config.json in TEXT (NUL-terminated, BYTES without the NUL). ANSWER gets its annotations, and whether a
 * plugin has told a hook; if HOOK is not NULL also the places for that hook. Whoever asks for annotations alone wants
 * to be told of one that is no string; with HOOK it is the runtime's to complain, and those that are strings count.
 * Pure.
 */
void bundle_parse(const char *text, size_t bytes, const char *hook, struct bundle_answer *answer);
