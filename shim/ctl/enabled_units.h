/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enabled_units.h - the services that are started through hugexec: an empty file named after each, below
 * /etc/hugexec/units.d, or /run/hugexec/units.d until the next boot. While hugexecctl enable tries a unit the file says
 * "trial" and is locked; the kernel unlocks it if that is killed.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define ENABLED_FOLDER         HUGEXEC_CONFDIR "/units.d"
#define ENABLED_RUNTIME_FOLDER "/run/hugexec/units.d"
#define ENABLED_MAX            5000

/* Whether NAME can be that of a service's unit: "a.service", "a@.service", "a@b.service". */
bool enabled_is_name(const char *name);

/* Call EACH with every name, sorted and once. RUNTIME: it is only in the folder of this boot. */
void enabled_each(void (*each)(void *context, const char *unit, bool runtime), void *context);

bool enabled_has(const char *folder, const char *unit);

/*
 * Name UNIT in FOLDER on trial. Returns a descriptor that holds the trial, or -1 with ERR "drop-in" (another holds it,
 * too). If whoever has it ends before enabled_keep(), however that comes, the name is an abandoned one.
 */
int enabled_try(const char *folder, const char *unit, struct error *err);

/* The trial is over, and the name stays. Returns 0, or -1 with ERR "drop-in". */
int enabled_keep(int trial, struct error *err);

/* Whether UNIT is named in FOLDER on a trial that nobody holds any more. A name that cannot be asked is none. */
bool enabled_is_abandoned(const char *folder, const char *unit);

/* Take UNIT out of FOLDER; none the worse if it is not there. Returns 0, or -1 with ERR "drop-in". */
int enabled_remove(const char *folder, const char *unit, struct error *err);
