/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_objects.h - from the text of a smaps file to "this object, so much text, so much of it on huge pages". No I/O.
 *
 * An object's text is its executable mappings. If hugexec put a private copy in their place, the kernel shows a
 * memfd between what is left of them: such a mapping is counted for the file that it touches.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

struct text_object {
	char *path; /* as smaps shows it */
	unsigned dev_major, dev_minor;
	uint64_t inode;
	uint64_t text_bytes;
	uint64_t huge_bytes;
	enum backing backing; /* BACKING_NONE: nothing of it is on huge pages */
};

struct text_objects {
	struct text_object *list;
	size_t count;
};

/* Returns 0 (text_objects_free() it), or -1 if SMAPS is no smaps file or memory is short; then *OUT is empty. */
int text_objects_read(const char *smaps, struct text_objects *out);

/*
 * The name that people know the object by, into BUF: the path without the kernel's remark that it was deleted; of a
 * memfd the name it was given. "" if it has none. Returns BUF.
 */
const char *text_object_name(const struct text_object *object, char *buf, size_t buf_bytes);

void text_objects_free(struct text_objects *objects);

/* Whether processes share these huge pages with each other: the page cache's they do, those of a private copy not. */
bool text_object_is_shared(const struct text_object *object);
