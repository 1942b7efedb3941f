/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_files.h - the files that make a service, found as systemd finds them (systemd.unit(5)), by reading folders
 * alone: a generator runs before systemd has loaded anything, and may not ask it.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define UNIT_PATHS_MAX 256 /* files of one unit, and folders for its drop-ins */

/* What the folders of the load path have for services; of a directory NAME.d the drop-ins in it. */
struct unit_entry {
	char *name;      /* "a.service"; of a drop-in "50-x.conf" */
	char *directory; /* that it is in */
	char *target;    /* of a link what that says; else NULL */
	unsigned rank;   /* of its folder in the load path: 0 comes first */
};

struct unit_files {
	struct unit_entry *units;
	size_t unit_count;
	struct unit_entry *drop_ins;
	size_t drop_in_count;
};

/*
 * Read the folders of the load path below ROOT ("": the host's); but for those of generators and SKIPPED (a drop-in's
 * name; our own). Returns 0 (unit_files_free() it), or -1 with ERR "unit-unfit" or "memory".
 */
int unit_files_read(const char *root, const char *skipped, struct unit_files *out, struct error *err);
void unit_files_free(struct unit_files *files);

/* The files of one unit, in the order in which systemd reads them; the strings are of unit_files. */
struct unit_paths {
	char name[256];     /* the unit's own, if an alias was asked for */
	char fragment[512]; /* its file */
	char drop_ins[UNIT_PATHS_MAX][512];
	size_t drop_in_count;
};

/* Find those of NAME ("a.service", "a@.service", "a@b.service"). Returns 0, or -1 with ERR "no-unit" or "unit-unfit".
 */
int unit_files_find(const struct unit_files *files, const char *name, struct unit_paths *out, struct error *err);
