/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <stddef.h>
#include <string.h>

#define EDITS_FOR_A_TYPO 2

/* How many single-character edits apart two words are, as far as it matters here (both short). */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t a_len = strlen(a), b_len = strlen(b);
	if (b_len >= 31 || a_len >= 31)
		return 99;
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
			unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			diagonal = row[j];
			row[j] = replaced < least ? replaced : least;
		}
	}
	return row[b_len];
}

const char *nearest_word(const char *typed, const char *const *words)
{
	const char *best = NULL;
	unsigned best_distance = EDITS_FOR_A_TYPO + 1;
	for (; *words; words++) {
		unsigned distance = edit_distance(typed, *words);
		/* A short word with half of its letters changed is another word. */
		if (distance < best_distance && distance * 2 < strlen(*words)) {
			best_distance = distance;
			best = *words;
		}
	}
	return best;
}
