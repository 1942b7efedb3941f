/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX (WIRE_MESSAGE_HEADER + WIRE_BODY_MAX)

/* What the engine's multiplexer hands on of a frame at once must fit the buffer of who reads it: 4 KiB, in Go. */
#define FRAME_OUT_BYTES 4000

/* What a buffer for the usual message may go on taking. */
#define ROOM_KEPT_BYTES (64 * 1024)

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void set_u32(uint8_t *at, size_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Move bytes from DATA until HAVE of WANTED are in HEADER. Returns whether they are. */
static bool fill(uint8_t *header, size_t wanted, size_t *have, const uint8_t **data, size_t *bytes)
{
	size_t part = wanted - *have < *bytes ? wanted - *have : *bytes;
	memcpy(header + *have, *data, part);
	*have += part;
	*data += part;
	*bytes -= part;
	return *have == wanted;
}

/* Room for BYTES more of a body of WHOLE bytes, of which a stranger may send none. */
static int make_room(struct wire_stream *stream, size_t bytes, size_t whole, struct error *err)
{
	size_t needed = stream->body_bytes + bytes;
	if (needed <= stream->body_room)
		return 0;
	size_t room = 2 * needed < whole ? 2 * needed : whole;
	uint8_t *larger = realloc(stream->body, room);
	if (!larger)
		return error_set(err, REASON_NRI, "no memory for a message of %zu bytes", whole);
	stream->body = larger;
	stream->body_room = room;
	return 0;
}

static void end_message(struct wire_stream *stream)
{
	stream->header_bytes = stream->body_bytes = 0;
	if (stream->body_room > ROOM_KEPT_BYTES) {
		free(stream->body);
		stream->body = NULL;
		stream->body_room = 0;
	}
}

/* BYTES of DATA are CONNECTION's. */
static int take_stream(struct wire *wire, enum wire_connection connection, const uint8_t *data, size_t bytes,
                       wire_receiver *receive, void *context, struct error *err)
{
	struct wire_stream *stream = &wire->streams[connection - 1];
	while (bytes > 0) {
		if (!fill(stream->header, WIRE_MESSAGE_HEADER, &stream->header_bytes, &data, &bytes))
			return 0;
		size_t whole = get_u32(stream->header);
		if (whole > WIRE_BODY_MAX)
			return error_set(err, REASON_NRI, "a message of %zu bytes", whole);
		size_t part = whole - stream->body_bytes < bytes ? whole - stream->body_bytes : bytes;
		if (make_room(stream, part, whole, err) < 0)
			return -1;
		if (part > 0)
			memcpy(stream->body + stream->body_bytes, data, part);
		stream->body_bytes += part;
		data += part;
		bytes -= part;
		if (stream->body_bytes < whole)
			return 0;
		const struct wire_message message = {.connection = connection,
		                                     .call = get_u32(stream->header + 4),
		                                     .type = stream->header[8],
		                                     .body = stream->body,
		                                     .bytes = whole};
		int result = receive(context, &message);
		end_message(stream);
		if (result < 0)
			return -1;
	}
	return 0;
}

int wire_take(struct wire *wire, const uint8_t *data, size_t bytes, wire_receiver *receive, void *context,
              struct error *err)
{
	while (bytes > 0) {
		if (wire->frame_left == 0) {
			if (!fill(wire->frame, WIRE_FRAME_HEADER, &wire->frame_bytes, &data, &bytes))
				return 0;
			wire->frame_left = get_u32(wire->frame + 4);
			wire->frame_bytes = 0;
			if (wire->frame_left > FRAME_MAX)
				return error_set(err, REASON_NRI, "a frame of %zu bytes", wire->frame_left);
			continue;
		}
		uint32_t connection = get_u32(wire->frame);
		size_t part = wire->frame_left < bytes ? wire->frame_left : bytes;
		wire->frame_left -= part;
		if (connection >= 1 && connection <= WIRE_CONNECTIONS &&
		    take_stream(wire, (enum wire_connection)connection, data, part, receive, context, err) < 0)
			return -1;
		data += part;
		bytes -= part;
	}
	return 0;
}

size_t wire_frames_bytes(size_t body_bytes)
{
	size_t bytes = WIRE_MESSAGE_HEADER + body_bytes;
	return bytes + (bytes + FRAME_OUT_BYTES - 1) / FRAME_OUT_BYTES * WIRE_FRAME_HEADER;
}

void wire_frames(const struct wire_message *message, uint8_t *out)
{
	uint8_t header[WIRE_MESSAGE_HEADER] = {0};
	size_t left = WIRE_MESSAGE_HEADER + message->bytes;
	const uint8_t *body = message->body;
	set_u32(header, message->bytes);
	set_u32(header + 4, message->call);
	header[8] = message->type;
	for (bool is_first = true; left > 0; is_first = false) {
		size_t part = left < FRAME_OUT_BYTES ? left : FRAME_OUT_BYTES;
		set_u32(out, message->connection);
		set_u32(out + 4, part);
		out += WIRE_FRAME_HEADER;
		size_t of_header = is_first ? WIRE_MESSAGE_HEADER : 0;
		memcpy(out, header, of_header);
		if (part > of_header)
			memcpy(out + of_header, body, part - of_header);
		body += part - of_header;
		out += part;
		left -= part;
	}
}

void wire_free(struct wire *wire)
{
	for (int i = 0; i < WIRE_CONNECTIONS; i++)
		free(wire->streams[i].body);
	*wire = (struct wire){0};
}
