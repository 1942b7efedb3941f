/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/exec_rewrite.h"

#include <string.h>

#define BLANKS " \t"
#define PLAIN  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

struct word {
	const char *start;
	size_t length; /* 0: there is none */
};

/* The next word at *AT as extract_first_word() of systemd's splits it, quotes and escapes included; -1: unbalanced. */
static int next_word(const char **at, struct word *out)
{
	const char *p = *at + strspn(*at, BLANKS);
	char quote = 0;
	out->start = p;
	out->length = strlen(p);
	for (; *p && (quote || !strchr(BLANKS, *p)); p++) {
		if (*p == '\\') {
			if (!*++p)
				return -1;
		} else if (quote) {
			quote = *p == quote ? '\0' : quote;
		} else if (*p == '"' || *p == '\'') {
			quote = *p;
		}
	}
	out->length = (size_t)(p - out->start);
	*at = p;
	return quote ? -1 : 0;
}

static bool is_separator(const struct word *word)
{
	return word->length == 1 && *word->start == ';';
}

/* WORD without the quotes around it, if there is nothing in it that would need them read; else "". */
static void plain_text(const struct word *word, char *buf, size_t buf_bytes)
{
	const char *from = word->start;
	size_t length = word->length;
	if (length >= 2 && (*from == '"' || *from == '\'') && from[length - 1] == *from) {
		from++;
		length -= 2;
	}
	buf[0] = '\0';
	if (length >= buf_bytes || strspn(from, PLAIN) < length)
		return;
	memcpy(buf, from, length);
	buf[length] = '\0';
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int doubt(struct error *err, const char *what, const struct word *word)
{
	int length = word->length < 100 ? (int)word->length : 100;
	return error_set(err, REASON_UNIT_UNFIT, "ExecStart=: %s: %.*s", what, length, word->start);
}

/* The program of a command: what it is called, and whether hugexec can be put before it. */
static int on_program(struct exec_rewrite *rewrite, const struct word *path, struct error *err)
{
	char text[sizeof rewrite->program];
	const char *first = path->start + (*path->start == '"' || *path->start == '\'');
	if (path->length == 0 || !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/%.", *first))
		return doubt(err, "no path, or a prefix that is not known", path);
	/* systemd expands no variable in the path, and would in an argument. */
	if (memchr(path->start, '$', path->length))
		return doubt(err, "the path has a $", path);
	plain_text(path, text, sizeof text);
	if (strcmp(text, rewrite->hugexec) == 0 || strcmp(text, rewrite->launcher) == 0 || strcmp(text, "hugexec") == 0)
		return doubt(err, "hugexec is before the command already", path);
	if (rewrite->count++ == 0)
		memcpy(rewrite->program, text, sizeof text);
	else if (!*text || strcmp(base_name(text), base_name(rewrite->program)) != 0)
		rewrite->is_mixed = true;
	return 0;
}

/* One command at *AT, up to the ";" behind it or the end. */
static int rewrite_command(struct exec_rewrite *rewrite, FILE *stream, const char **at, struct error *err)
{
	struct word path, name = {.length = 0}, rest;
	if (next_word(at, &path) < 0)
		return doubt(err, "a quote or an escape that does not end", &path);
	if (path.length == 0 || is_separator(&path))
		return path.length == 0 ? 0 : doubt(err, "no command before", &path);
	bool has_name = false;
	fputs("ExecStart=", stream);
	for (; path.length > 0 && strchr("@-:+!", *path.start); path.start++, path.length--) {
		has_name |= *path.start == '@';
		if (*path.start != '@')
			fputc(*path.start, stream);
	}
	if (on_program(rewrite, &path, err) < 0)
		return -1;
	fputs(rewrite->launcher, stream);
	if (has_name) {
		if (next_word(at, &name) < 0 || name.length == 0 || is_separator(&name))
			return doubt(err, "no name behind @", &path);
		/* A whole word "$NAME" becomes as many words as the variable has; in the middle of a word it is none.
		 */
		if (memchr(name.start, '$', name.length))
			return doubt(err, "the name behind @ is a variable", &name);
		fprintf(stream, " --argv0=%.*s", (int)name.length, name.start);
	}
	fprintf(stream, " -- %.*s", (int)path.length, path.start);
	while (true) {
		if (next_word(at, &rest) < 0)
			return doubt(err, "a quote or an escape that does not end", &rest);
		if (rest.length == 0 || is_separator(&rest))
			break;
		fprintf(stream, " %.*s", (int)rest.length, rest.start);
	}
	fputc('\n', stream);
	return 0;
}

int exec_rewrite(struct exec_rewrite *rewrite, FILE *stream, const char *value, struct error *err)
{
	while (value[strspn(value, BLANKS)]) {
		if (rewrite_command(rewrite, stream, &value, err) < 0)
			return -1;
	}
	return 0;
}
