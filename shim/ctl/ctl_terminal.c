/* SPDX-License-Identifier: Apache-2.0 */
#include <langinfo.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

#define COLUMNS_USUAL 80
#define COLUMNS_LEAST 40 /* on a narrower terminal lines are the terminal's to break */

bool ctl_is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

unsigned ctl_columns(void)
{
	struct winsize size = {0};
	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return COLUMNS_USUAL;
	return size.ws_col < COLUMNS_LEAST ? COLUMNS_LEAST : size.ws_col;
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

void ctl_print_wrapped(unsigned indent, const char *text)
{
	unsigned columns = ctl_columns();
	unsigned width = columns > indent ? columns - indent : 0;
	while (width > 0 && ctl_width(text) > width) {
		size_t most = bytes_of_width(text, width), bytes = most + 1;
		while (bytes > 0 && text[bytes - 1] != ' ')
			bytes--;
		/* A word that is longer than a line is broken where the line ends. */
		size_t shown = bytes > 1 ? bytes - 1 : most;
		printf("%.*s\n%*s", (int)shown, text, (int)indent, "");
		text += bytes > 1 ? bytes : most;
	}
	printf("%s\n", text);
}

#define NAME_COLUMNS 10

void ctl_print_line(const char *name, const char *value)
{
	char shown[PATH_MAX + 1024];
	printf("%-*s ", NAME_COLUMNS, name);
	ctl_print_wrapped(NAME_COLUMNS + 1, text_printable(value, shown, sizeof shown));
}

void ctl_print_reason(unsigned indent, const char *reason)
{
	char shown[1024];
	bool is_terminal = ctl_columns() > 0;
	if (!reason) {
		putchar('\n');
		return;
	}
	if (is_terminal)
		printf("\n%*s", (int)indent, "");
	else
		fputs(": ", stdout);
	ctl_print_wrapped(indent, text_printable(reason, shown, sizeof shown));
}

void ctl_print_cell(const char *text, unsigned columns, bool pads)
{
	char shown[PATH_MAX];
	unsigned width = ctl_width(text_printable(text, shown, sizeof shown));
	bool is_cut = columns > 0 && width > columns;
	const char *end = is_cut ? shown + bytes_of_width(shown, width - (columns - 1)) : shown;
	width = is_cut ? columns : width;
	printf("%s%s%*s", is_cut ? ctl_is_utf8() ? "…" : "~" : "", end,
	       pads && columns > width ? (int)(columns - width) : 0, "");
}
