/*
 * Complaints about a policy file: FILE:LINE:COLUMN: what is wrong and what was expected. One line, fit for a terminal
 * whatever the file holds.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "policy/parse.h"

#define NAME_SHOWN_MAX   160
#define EDITS_FOR_A_TYPO 2

int complain_at(const struct parser *parser, size_t offset, const char *message)
{
	unsigned line, column;
	char name[NAME_SHOWN_MAX + 1], text[288];
	size_t name_len = strlen(parser->name);
	/* The end of a long path says more than its beginning. */
	const char *end = name_len > NAME_SHOWN_MAX ? parser->name + name_len - (NAME_SHOWN_MAX - 4) : parser->name;
	text_printable(end, name, sizeof name);
	text_printable(message, text, sizeof text);
	json_line_column(parser->text, parser->bytes, offset, &line, &column);
	return error_set(parser->err, "policy-invalid", "%s%s:%u:%u: %s", end == parser->name ? "" : "...", name, line,
	                 column, text);
}

int complain(const struct parser *parser, const struct json_place *place, enum json_point point, const char *format,
             ...)
{
	char message[288];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	return complain_at(parser, json_locate(parser->text, parser->bytes, place, point), message);
}

int complain_memory(const struct parser *parser)
{
	return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
}

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

int complain_unknown_key(const struct parser *parser, const struct json_place *place, const char *const *known)
{
	const char *best = NULL;
	unsigned best_distance = EDITS_FOR_A_TYPO + 1;
	for (size_t i = 0; known[i]; i++) {
		unsigned distance = edit_distance(place->key, known[i]);
		if (distance < best_distance && distance < strlen(known[i])) {
			best_distance = distance;
			best = known[i];
		}
	}
	if (best)
		return complain(parser, place, JSON_AT_KEY, "unknown key \"%.64s\", did you mean \"%s\"?", place->key,
		                best);
	char list[224] = "";
	for (size_t i = 0; known[i]; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", known[i]);
	return complain(parser, place, JSON_AT_KEY, "unknown key \"%.32s\", expected one of %s", place->key, list);
}
