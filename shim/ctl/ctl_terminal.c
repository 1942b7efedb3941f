/* SPDX-License-Identifier: Apache-2.0 */
#include <langinfo.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/ctl.h"
#include "host/huge_tlb.h"

#define COLUMNS_USUAL 80
#define COLUMNS_LEAST 40 /* on a narrower terminal lines are the terminal's to break */
#define COLUMNS_MOST  1000000

bool ctl_is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool ctl_is_terminal(void)
{
	return isatty(STDOUT_FILENO);
}

/* What COLUMNS in the environment asks for; 0: nothing that makes sense. */
static unsigned asked_columns(void)
{
	const char *word = getenv("COLUMNS");
	unsigned long columns = word && *word >= '0' && *word <= '9' ? strtoul(word, NULL, 10) : 0;
	return columns < COLUMNS_MOST ? (unsigned)columns : COLUMNS_MOST;
}

unsigned ctl_columns(FILE *stream)
{
	struct winsize size = {0};
	unsigned columns = 0;
	if (!isatty(fileno(stream)))
		columns = asked_columns();
	else if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0)
		columns = size.ws_col;
	if (columns == 0)
		return COLUMNS_USUAL;
	return columns < COLUMNS_LEAST ? COLUMNS_LEAST : columns;
}

unsigned ctl_width(const char *text)
{
	unsigned width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* As many bytes of TEXT as fit into WIDTH columns; no character is cut. */
static size_t bytes_of_width(const char *text, unsigned width)
{
	size_t bytes = 0;
	for (unsigned used = 0; text[bytes]; bytes++) {
		used += ((unsigned char)text[bytes] & 0xc0) != 0x80;
		if (used > width)
			break;
	}
	return bytes;
}

void ctl_wrap(FILE *stream, unsigned indent, const char *text)
{
	unsigned columns = ctl_columns(stream);
	unsigned width = columns > indent ? columns - indent : 1;
	/* What is read by a program, or copied from a file, is whole: a path or a command. */
	bool breaks_words = isatty(fileno(stream));
	while (ctl_width(text) > width) {
		size_t most = bytes_of_width(text, width), bytes = most + 1;
		while (bytes > 0 && text[bytes - 1] != ' ')
			bytes--;
		if (bytes <= 1 && !breaks_words)
			bytes = strcspn(text + 1, " ") + 2;
		if (bytes > 1 && text[bytes - 1] == '\0')
			break;
		/* A word that is longer than a line is broken where the line ends. */
		size_t shown = bytes > 1 ? bytes - 1 : most;
		fprintf(stream, "%.*s\n%*s", (int)shown, text, (int)indent, "");
		text += bytes > 1 ? bytes : most;
	}
	fprintf(stream, "%s\n", text);
}

void ctl_print_wrapped(unsigned indent, const char *text)
{
	ctl_wrap(stdout, indent, text);
}

void ctl_print_named(unsigned columns, const char *name, const char *value)
{
	char shown[PATH_MAX + 1024];
	printf("%-*s ", (int)columns, name);
	ctl_print_wrapped(columns + 1, text_printable(value, shown, sizeof shown));
}

#define NAME_COLUMNS 10

void ctl_print_line(const char *name, const char *value)
{
	ctl_print_named(NAME_COLUMNS, name, value);
}

void ctl_print_reason(unsigned indent, const char *reason)
{
	char shown[1024];
	putchar('\n');
	if (!reason)
		return;
	printf("%*s", (int)indent, "");
	ctl_print_wrapped(indent, text_printable(reason, shown, sizeof shown));
}

void ctl_print_cell(const char *text, unsigned columns, bool pads)
{
	char shown[PATH_MAX];
	unsigned width = ctl_width(text_printable(text, shown, sizeof shown));
	bool is_cut = ctl_is_terminal() && width > columns;
	const char *end = is_cut ? shown + bytes_of_width(shown, width - (columns - 1)) : shown;
	width = is_cut ? columns : width;
	printf("%s%s%*s", is_cut ? ctl_is_utf8() ? "…" : "~" : "", end,
	       pads && columns > width ? (int)(columns - width) : 0, "");
}

void ctl_print_tlb(const struct huge_tlb *tlb)
{
	char line[512];
	if (tlb->verdict == TLB_HOLDS)
		return;
	snprintf(line, sizeof line, "TLB: %s.", huge_tlb_text(tlb));
	ctl_print_wrapped(0, line);
	putchar('\n');
}
