/* SPDX-License-Identifier: Apache-2.0 */
#include "protobuf.h"

#include <string.h>

#define VARINT_BYTES_MAX 10
#define LENGTH_BYTES     3 /* of a message whose length is filled in later: 7 bits a byte */

static bool take_varint(struct pb *message, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < VARINT_BYTES_MAX && i < message->bytes; i++) {
		*out |= (uint64_t)(message->at[i] & 0x7f) << (7 * i);
		if (message->at[i] & 0x80)
			continue;
		message->at += i + 1;
		message->bytes -= i + 1;
		return true;
	}
	return false;
}

static bool take_bytes(struct pb *message, uint64_t bytes, struct pb *out)
{
	if (bytes > message->bytes)
		return false;
	*out = (struct pb){message->at, (size_t)bytes};
	message->at += bytes;
	message->bytes -= (size_t)bytes;
	return true;
}

int pb_next(struct pb *message, struct pb_field *field)
{
	uint64_t tag, length;
	bool is_whole = false;
	if (message->bytes == 0)
		return 0;
	if (!take_varint(message, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
		return -1;
	*field = (struct pb_field){.number = (uint32_t)(tag >> 3), .type = (enum pb_type)(tag & 7)};
	switch (field->type) {
	case PB_VARINT: is_whole = take_varint(message, &field->value); break;
	case PB_BYTES: is_whole = take_varint(message, &length) && take_bytes(message, length, &field->in); break;
	case PB_FIXED64: is_whole = take_bytes(message, 8, &field->in); break;
	case PB_FIXED32: is_whole = take_bytes(message, 4, &field->in); break;
	}
	return is_whole ? 1 : -1;
}

bool pb_find(struct pb message, uint32_t number, struct pb *out)
{
	struct pb_field field;
	bool found = false;
	int got;
	while ((got = pb_next(&message, &field)) > 0) {
		if (field.number == number && field.type == PB_BYTES) {
			*out = field.in;
			found = true;
		}
	}
	return found && got == 0;
}

uint64_t pb_number(struct pb message, uint32_t number)
{
	struct pb_field field;
	uint64_t value = 0;
	int got;
	while ((got = pb_next(&message, &field)) > 0) {
		if (field.number == number && field.type == PB_VARINT)
			value = field.value;
	}
	return got == 0 ? value : 0;
}

static void put(struct pb_writer *to, const void *data, size_t bytes)
{
	to->is_cut |= bytes > to->room - to->bytes;
	if (to->is_cut)
		return;
	memcpy(to->buf + to->bytes, data, bytes);
	to->bytes += bytes;
}

static void put_varint(struct pb_writer *to, uint64_t value)
{
	uint8_t varint[VARINT_BYTES_MAX];
	size_t bytes = 0;
	for (; value > 0x7f; value >>= 7)
		varint[bytes++] = (uint8_t)(value | 0x80);
	varint[bytes++] = (uint8_t)value;
	put(to, varint, bytes);
}

void pb_put_number(struct pb_writer *to, uint32_t number, uint64_t value)
{
	put_varint(to, (uint64_t)number << 3 | PB_VARINT);
	put_varint(to, value);
}

void pb_put_text(struct pb_writer *to, uint32_t number, const char *text)
{
	size_t bytes = strlen(text);
	put_varint(to, (uint64_t)number << 3 | PB_BYTES);
	put_varint(to, bytes);
	put(to, text, bytes);
}

size_t pb_begin(struct pb_writer *to, uint32_t number)
{
	put_varint(to, (uint64_t)number << 3 | PB_BYTES);
	put(to, (const uint8_t[LENGTH_BYTES]){0}, LENGTH_BYTES);
	return to->bytes;
}

void pb_end(struct pb_writer *to, size_t begun)
{
	size_t bytes = to->bytes - begun;
	to->is_cut |= bytes >> (7 * LENGTH_BYTES) != 0;
	if (to->is_cut)
		return;
	/* Longer than it need be, which the format allows: so nothing has to be moved. */
	for (size_t i = 0; i < LENGTH_BYTES; i++)
		to->buf[begun - LENGTH_BYTES + i] =
		    (uint8_t)((bytes >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}
