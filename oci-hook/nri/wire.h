/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nri/wire.h - what goes over NRI's socket, in both directions: ttrpc messages in the frames of a multiplexer.
 *
 * A frame is a connection's number, the count of bytes, and the bytes; each connection is a stream of messages, which
 * begin and end anywhere in its frames. A message is its length, the number of its call, a type, flags, and a body. All
 * numbers are big-endian.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum wire_connection { WIRE_TO_PLUGIN = 1, WIRE_TO_ENGINE = 2, WIRE_CONNECTIONS = 2 };
enum wire_type { WIRE_REQUEST = 1, WIRE_RESPONSE = 2 };

#define WIRE_FRAME_HEADER   8
#define WIRE_MESSAGE_HEADER 10
#define WIRE_BODY_MAX       (1 << 22) /* ttrpc's own limit */

struct wire_message {
	enum wire_connection connection;
	uint32_t call;
	uint8_t type;
	const uint8_t *body;
	size_t bytes;
};

/* Returns 0, or -1: then nothing more is taken in. */
typedef int wire_receiver(void *context, const struct wire_message *message);

/* A stream that is being taken apart. All zero at first; wire_free() it. */
struct wire {
	struct wire_stream {
		uint8_t header[WIRE_MESSAGE_HEADER];
		size_t header_bytes;
		uint8_t *body; /* no larger than what of it has come needs */
		size_t body_room, body_bytes;
	} streams[WIRE_CONNECTIONS];
	uint8_t frame[WIRE_FRAME_HEADER];
	size_t frame_bytes; /* of its header */
	size_t frame_left;  /* of what it holds */
};

/*
 * Take in BYTES of DATA, and hand each message to RECEIVE as soon as it is whole. Frames of connections that we do not
 * have are passed over. Returns 0; -1 if RECEIVE did, or with ERR word "nri" (no such frame or message, or memory).
 */
int wire_take(struct wire *wire, const uint8_t *data, size_t bytes, wire_receiver *receive, void *context,
              struct error *err);

/* How many bytes MESSAGE is in frames, and the frames themselves, to OUT, which has room for them. */
size_t wire_frames_bytes(size_t body_bytes);
void wire_frames(const struct wire_message *message, uint8_t *out);

void wire_free(struct wire *wire);
