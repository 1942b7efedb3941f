/* SPDX-License-Identifier: Apache-2.0 */
#include <langinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

const char *ctl_shorten(const char *text, unsigned width)
{
	unsigned long_by = ctl_width(text) > width ? ctl_width(text) - width : 0;
	return text + bytes_of_width(text, long_by);
}
