/* SPDX-License-Identifier: Apache-2.0 */
#include "base/shebang.h"

#include <stdio.h>
#include <string.h>

bool shebang_is(const char *head)
{
	return strncmp(head, "#!", 2) == 0;
}

/* The word at TEXT, behind blanks, into OUT; returns what follows it. */
static const char *take_word(const char *text, char out[SHEBANG_BYTES])
{
	text += strspn(text, " \t");
	int length = (int)strcspn(text, " \t\n");
	snprintf(out, SHEBANG_BYTES, "%.*s", length, text);
	return text + length;
}

bool shebang_parse(const char *head, struct shebang *out)
{
	*out = (struct shebang){0};
	if (!shebang_is(head))
		return false;
	take_word(take_word(head + 2, out->interpreter), out->argument);
	return out->interpreter[0] != '\0';
}
