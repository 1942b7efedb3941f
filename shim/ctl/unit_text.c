/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"

#define BLANKS " \t\n\r"

static char *strip(char *text)
{
	text += strspn(text, BLANKS);
	size_t length = strlen(text);
	while (length > 0 && strchr(BLANKS, text[length - 1]))
		length--;
	text[length] = '\0';
	return text;
}

/* Whether the backslash at the end of LINE is not one that is itself escaped. */
static bool goes_on(const char *line)
{
	bool escaped = false;
	for (; *line; line++)
		escaped = !escaped && *line == '\\';
	return escaped;
}

struct parse {
	char section[64];
	unit_text_setting each;
	void *context;
};

static int on_line(struct parse *parse, char *line, struct error *err)
{
	line = strip(line);
	size_t length = strlen(line);
	if (length == 0)
		return 0;
	if (line[0] == '[') {
		if (line[length - 1] != ']' || length - 2 >= sizeof parse->section)
			return error_set(err, REASON_UNIT_UNFIT, "a section's name is not closed, or too long");
		memcpy(parse->section, line + 1, length - 2);
		parse->section[length - 2] = '\0';
		return 0;
	}
	char *equals = strchr(line, '=');
	if (!equals || !*parse->section)
		return 0; /* systemd warns, and goes on */
	*equals = '\0';
	return parse->each(parse->context, parse->section, strip(line), strip(equals + 1), err);
}

static int check_text(const char *text, size_t bytes, struct error *err)
{
	cleanup_free char *valid = NULL;
	if (strlen(text) != bytes || strchr(text, '\r'))
		return error_set(err, REASON_UNIT_UNFIT, "it has zeros or carriage returns");
	valid = text_to_utf8(text);
	if (!valid)
		return error_set(err, REASON_MEMORY, "for a unit file");
	return strcmp(valid, text) == 0 ? 0 : error_set(err, REASON_UNIT_UNFIT, "it is no UTF-8");
}

int unit_text_parse(char *text, size_t bytes, unit_text_setting each, void *context, struct error *err)
{
	static const char mark[] = "\xef\xbb\xbf";
	struct parse parse = {.each = each, .context = context};
	if (check_text(text, bytes, err) < 0)
		return -1;
	if (strncmp(text, mark, sizeof mark - 1) == 0)
		text += sizeof mark - 1;
	/* Lines are joined where they lie: what is joined is never longer than what it is made of. */
	for (char *joined = NULL, *next, *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		size_t length = strlen(line);
		const char *first = line + strspn(line, BLANKS);
		bool is_comment = *first == '#' || *first == ';';
		if (is_comment && next)
			continue;
		if (is_comment)
			length = 0;
		line = joined ? memmove(joined + strlen(joined), line, length) : line;
		line[length] = '\0';
		joined = joined ? joined : line;
		if (next && goes_on(joined)) {
			joined[strlen(joined) - 1] = ' ';
			continue;
		}
		/* At the end of the file the backslash has nothing behind it. */
		if (!next && goes_on(joined))
			joined[strlen(joined) - 1] = ' ';
		if (on_line(&parse, joined, err) < 0)
			return -1;
		joined = NULL;
	}
	return 0;
}
