/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nri/protobuf.h - as much of the protocol buffers' wire format as NRI's messages need: fields are looked at where they
 * lie, and written one behind the other. Nothing is allocated, so what a message may say costs no more than its bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a message: all of it, or a field that holds text or another message. */
struct pb {
	const uint8_t *at;
	size_t bytes;
};

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_field {
	uint32_t number;
	enum pb_type type;
	uint64_t value; /* PB_VARINT */
	struct pb in;   /* PB_BYTES */
};

/* Take the next field off MESSAGE. Returns 1, 0 at its end, -1 if what is left is no field. Pure. */
int pb_next(struct pb *message, struct pb_field *field);

/* Whether the last field NUMBER of MESSAGE that is bytes was found, in *OUT. False also if MESSAGE is malformed. */
bool pb_find(struct pb message, uint32_t number, struct pb *out);

/* The last number in field NUMBER of MESSAGE; 0 if there is none, or MESSAGE is malformed. */
uint64_t pb_number(struct pb message, uint32_t number);

/* A message that grows in BUF; once something had no room nothing more is written, and IS_CUT is set. */
struct pb_writer {
	uint8_t *buf;
	size_t room, bytes;
	bool is_cut;
};

void pb_put_number(struct pb_writer *to, uint32_t number, uint64_t value);
void pb_put_text(struct pb_writer *to, uint32_t number, const char *text);

/* A field that is a message: what is put between the two is in it, 2 MiB at most. BEGIN's value is END's. */
size_t pb_begin(struct pb_writer *to, uint32_t number);
void pb_end(struct pb_writer *to, size_t begun);
