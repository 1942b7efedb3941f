/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Complaints about a policy file: FILE:LINE:COLUMN: what is wrong and what was expected. One line, fit for a terminal
 * whatever the file holds.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "base/utf8.h"
#include "policy/parse.h"

#define NAME_SHOWN_MAX 160

int complain_at(const struct parser *parser, size_t offset, const char *message)
{
	if (parser->is_silent || (parser->leaves_out && *parser->mistakes > 0)) {
		(*parser->mistakes)++;
		return -1;
	}
	unsigned line, column;
	char name[NAME_SHOWN_MAX + 1], text[288];
	size_t name_len = strlen(parser->name);
	/* The end of a long path says more than its beginning. */
	const char *end = name_len > NAME_SHOWN_MAX ? parser->name + name_len - (NAME_SHOWN_MAX - 4) : parser->name;
	text_printable(end, name, sizeof name);
	text_printable(message, text, sizeof text);
	json_line_column(parser->text, parser->bytes, offset, &line, &column);
	struct error mistake = {0};
	error_set(&mistake, REASON_POLICY_INVALID, "%s%s:%u:%u: %s", end == parser->name ? "" : "...", name, line,
	          column, text);
	if ((*parser->mistakes)++ == 0 && parser->err)
		*parser->err = mistake;
	if (parser->told && parser->told->observe)
		parser->told->observe(parser->told->observe_context, parser->name, 0, &mistake);
	return -1;
}

bool parser_goes_on(const struct parser *parser)
{
	bool is_only_wrong =
	    !parser->err || parser->err->code == REASON_NONE || parser->err->code == REASON_POLICY_INVALID;
	bool is_told = parser->told && parser->told->observe && *parser->mistakes < MISTAKES_MAX;
	return is_only_wrong && (parser->leaves_out || is_told);
}

int complain(const struct parser *parser, const struct json_place *place, enum json_point point, const char *format,
             ...)
{
	char message[288];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	if (parser->is_silent || (parser->leaves_out && *parser->mistakes > 0))
		return complain_at(parser, 0, message);
	return complain_at(parser, json_locate(parser->text, parser->bytes, place, point), message);
}

int complain_memory(const struct parser *parser)
{
	return error_set(parser->err, REASON_POLICY_UNREADABLE, "%s: out of memory", parser->name);
}

int complain_unknown_key(const struct parser *parser, const struct json_place *place, const char *const *known)
{
	const char *best = nearest_word(place->key, known);
	if (best)
		return complain(parser, place, JSON_AT_KEY, "unknown key \"%.64s\", did you mean \"%s\"?", place->key,
		                best);
	char list[224] = "";
	for (size_t i = 0; known[i]; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", known[i]);
	return complain(parser, place, JSON_AT_KEY, "unknown key \"%.32s\", expected one of %s", place->key, list);
}
