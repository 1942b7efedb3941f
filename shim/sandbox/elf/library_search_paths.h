/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_search_paths.h - the lists of folders that ld.so searches, with $ORIGIN, $LIB and $PLATFORM in them. Pure.
 */
#pragma once

#include <stdbool.h>

/* What the words of a list stand for. */
struct path_words {
	const char *origin; /* $ORIGIN; NULL: unknown, and elements with it are passed over */
	const char *folder; /* where a relative path begins; "": not known, and these are passed over */
	bool is_musl;       /* $LIB and $PLATFORM are no words, and an empty element is no folder */
};

/*
 * Call EACH with every path that an element of LIST may stand for: made absolute, in order. Elements end at one of
 * SEPARATORS; an empty one is the folder. Ends when EACH returns not 0, and returns that; else 0.
 */
int paths_each(const char *list, const char *separators, const struct path_words *words,
               int (*each)(void *context, const char *path), void *context);
