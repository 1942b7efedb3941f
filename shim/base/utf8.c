/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * Length in bytes of the UTF-8 sequence at TEXT, or 0 if there is none: shortest form only, no surrogates, nothing
 * above U+10FFFF (RFC 3629). The code point goes to *CODE. TEXT is NUL-terminated, which ends any sequence.
 */
static size_t sequence_at(const char *text, uint32_t *code)
{
	static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char first = (unsigned char)text[0];
	size_t len = first < 0x80 ? 1 : first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : 0;
	if (first >= 0xc0 && first < 0xe0)
		len = 2;
	if (len <= 1) {
		*code = first;
		return len;
	}
	*code = first & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		unsigned char next = (unsigned char)text[i];
		if ((next & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (next & 0x3f);
	}
	if (*code < lowest[len] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000))
		return 0;
	return len;
}

bool text_is_utf8(const char *text)
{
	uint32_t code;
	for (size_t length = 1; *text && length; text += length)
		length = sequence_at(text, &code);
	return *text == '\0';
}

char *text_to_utf8(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *out = malloc(strlen(text) * 3 + 1);
	size_t used = 0;
	if (!out)
		return NULL;
	while (*text) {
		uint32_t code;
		size_t len = sequence_at(text, &code);
		memcpy(out + used, len ? text : replacement, len ? len : 3);
		used += len ? len : 3;
		text += len ? len : 1;
	}
	out[used] = '\0';
	return out;
}

const char *text_printable(const char *text, char *buf, size_t buf_bytes)
{
	size_t used = 0;
	while (*text) {
		uint32_t code;
		size_t len = sequence_at(text, &code);
		/* C0, DEL and C1: what terminals obey. */
		bool shown = len && code >= 0x20 && (code < 0x7f || code >= 0xa0);
		size_t wanted = shown ? len : 1;
		if (used + wanted >= buf_bytes)
			break;
		memcpy(buf + used, shown ? text : "?", wanted);
		used += wanted;
		text += len ? len : 1;
	}
	buf[used] = '\0';
	return buf;
}
