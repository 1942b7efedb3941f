/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drop_in.h - a file that hugexecctl enable of version 0.1 wrote below /etc/systemd/system, known again.
 *
 * Its first line has a checksum of the rest: a file without it, or whose rest is another one, is somebody else's, and
 * is not removed.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

struct drop_in {
	char directory[PATH_MAX]; /* .../UNIT.d */
	char path[PATH_MAX];
};

enum drop_in_state { DROP_IN_NONE, DROP_IN_OURS, DROP_IN_FOREIGN };

/* The drop-in of UNIT (a unit's name) below FOLDER, "/etc/systemd/system". Nothing is looked at. */
void drop_in_locate(struct drop_in *drop_in, const char *folder, const char *unit);

/* Whose the file is. What cannot be read is foreign. */
enum drop_in_state drop_in_look(const struct drop_in *drop_in);

/* Whether the drop-in at PATH is one of ours. */
bool drop_in_is_ours(const char *path);

/* Remove it, and its directory if that is empty then. Returns 0 (also if there is none), or -1 with ERR
 * "drop-in". */
int drop_in_remove(const struct drop_in *drop_in, struct error *err);
