/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_compose.h - the drop-in that starts a service through hugexec, made of what the unit's files say now.
 *
 * hugexec-generator writes it at each reload of systemd; hugexecctl enable asks beforehand what it will be.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "ctl/unit_files.h"
#include "ctl/unit_fit.h"

/* The last of all names: what a drop-in of the administrator's says is read before, and followed. */
#define UNIT_DROP_IN_NAME "zz-hugexec.conf"

/*
 * Compose that of UNIT into *TEXT, a fresh string (free() it); PATHS gets the unit's files, and its real name. Returns
 * 0, or -1 with ERR "no-unit", "unit-unfit" or "memory".
 */
int unit_compose(const struct unit_files *files, const struct unit_needs *needs, const char *unit,
                 struct unit_paths *paths, char **text, struct error *err);

/* Whether UNIT is one that runs before, or for, all others: it gains nothing, and its failure would be everybody's. */
bool unit_is_of_system(const char *unit);
