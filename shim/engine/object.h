/*
 * object.h - one ELF object of a stopped process (the program itself, or a library): its backings in order until one holds.
 */
#pragma once

#include <stdbool.h>

#include "engine/image.h"
#include "engine/tracee.h"
#include "policy/policy.h"
#include "report.h"

struct object {
	struct tracee *tracee;
	struct image *image; /* read anew where the object had to move */
	const struct settings *settings;
	size_t map_index; /* a mapping of the object in IMAGE */
	bool is_program;  /* not a library: it may be moved */
	bool rebased;
};

/*
 * Put the object's text on huge pages where that can be done. OUT is filled in: what smaps says afterwards, by which backing,
 * and why not where not. TRACEE: STOPPED; STOPPED afterwards, or GONE.
 */
void object_remap(struct object *object, struct report_object *out);

/* Whether a reason means "there is nothing to do here", as opposed to "it could not be done". */
bool is_nothing_to_do(const struct error *reason);
