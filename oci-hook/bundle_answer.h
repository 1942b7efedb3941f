/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle_answer.h - what hugexec-bundle-reader writes and bundle_ask.c reads: one flat struct, of which only as much of
 * TEXT is sent as is used, so that there is nothing to parse.
 *
 * It never holds a new config.json: a reader that was taken over could write any. It holds places of the old one, in
 * which whoever asked puts text of its own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "oci_state.h"

#define BUNDLE_ANSWER_MAGIC 0x68786276U /* changes with the struct */
#define BUNDLE_TEXT_MAX     (1024 * 1024)
#define BUNDLE_MESSAGE_MAX  160
#define BUNDLE_NO_OFFSET    UINT64_MAX

/* The words behind the parent's pid: what is asked for. */
#define BUNDLE_READER_ANNOTATIONS "annotations"
#define BUNDLE_READER_HOOKS       "hooks" /* and the annotations; the hook's path follows */

enum bundle_status {
	BUNDLE_OK,
	BUNDLE_REFUSED,  /* config.json is wrong, as MESSAGE says */
	BUNDLE_NO_PLACE, /* no hook can be added, as MESSAGE says; all else holds */
};

/* Where hooks go: at createRuntime, before the container's program is executed, and poststop, when it is gone. */
#define BUNDLE_STAGES 2
#define BUNDLE_STAGE_NAMES                  \
	{                                   \
		"createRuntime", "poststop" \
	}

enum bundle_shape {
	BUNDLE_THERE,    /* the hook is in this stage already */
	BUNDLE_NO_HOOKS, /* there is no "hooks": both stages say so, of one place */
	BUNDLE_NO_STAGE, /* "hooks" has no such member */
	BUNDLE_LIST,     /* there is an array, whose ']' is at OFFSET */
	BUNDLE_SHAPES
};

/* A member goes to OFFSET, behind a '{', or its value does, in place of the null that is there. */
struct bundle_place {
	uint32_t shape;          /* enum bundle_shape */
	uint32_t replaced_bytes; /* 4: of the null; or 0 */
	uint32_t is_empty;       /* nothing else is in the object or array */
	uint32_t unused;
	uint64_t offset;
};

struct bundle_answer {
	uint32_t magic;
	uint32_t status; /* enum bundle_status */
	uint64_t offset; /* of what is wrong; or BUNDLE_NO_OFFSET */
	char message[BUNDLE_MESSAGE_MAX];
	struct bundle_place places[BUNDLE_STAGES];
	uint32_t has_told_hook;    /* a plugin has added hugexec's hook, with arguments (told_container.h) */
	uint32_t annotation_count; /* OCI_ANNOTATIONS_MAX at most */
	uint32_t text_bytes;
	char text[BUNDLE_TEXT_MAX]; /* a name, NUL, its value, NUL, the next name ... */
};

#define BUNDLE_ANSWER_BYTES(answer) (offsetof(struct bundle_answer, text) + (answer)->text_bytes)

/*
 * Pure: whether ANSWER, of which ANSWER_BYTES were read, makes sense for a config.json of BYTES of TEXT; checked as if
 * a stranger had said it. After that its message can be shown, its text holds what it counts, and its places can be
 * written to. NAME is config.json's. Returns 0 (status BUNDLE_OK or BUNDLE_NO_PLACE); -1 with ERR, words
 * "bundle-reader" (nonsense) and "config" (what the reader refuses).
 */
int bundle_answer_check(struct bundle_answer *answer, size_t answer_bytes, const char *name, const char *text,
                        size_t bytes, struct error *err);

/* The annotations of an answer that was checked, in a fresh list (free() it) that points into it. NULL: no memory. */
struct annotation *bundle_answer_annotations(const struct bundle_answer *answer);
