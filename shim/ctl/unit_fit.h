/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_fit.h - can a service be started through hugexec? What its settings hide from it, forbid it, or do to it instead
 * of to the program; and what a drop-in may add so that it works.
 *
 * A drop-in gives hugexec no more than the right to be executed where the program already may be: it never makes a file
 * visible that the unit hides, nor allows a system call.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

/* One setting of [Service] as it stands in the unit's files, in order; an empty VALUE empties a list. */
struct unit_setting {
	char *key, *value;
};

struct unit_settings {
	struct unit_setting *list;
	size_t count;
};

/* Whether KEY is one that is looked at here: others need not be kept. */
bool unit_fit_knows(const char *key);

/* Files that have to be executable for a service that starts through hugexec; absolute, without links. */
struct unit_needs {
	const char *launcher, *hugexec, *libexec;
	char loader[256], libc[256]; /* of ours, which are hugexec's as well; "": linked statically */
};

/* Fill in the files of this installation. Returns 0, or -1 with ERR "unit-unfit": not there, or not for every user. */
int unit_needs_find(struct unit_needs *out, struct error *err);

/*
 * Check SETTINGS, and write the lines that the drop-in has to have because of them to STREAM.
 * Returns 0, or -1 with ERR "unit-unfit" (it ends with what to do if something can be done).
 */
int unit_fit(const struct unit_settings *settings, const struct unit_needs *needs, FILE *stream, struct error *err);
