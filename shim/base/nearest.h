/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.h - did you mean ...?
 */
#pragma once

/* That of the NULL-terminated WORDS that TYPED was most likely meant to be; NULL: none is near. */
const char *nearest_word(const char *typed, const char *const *words);
