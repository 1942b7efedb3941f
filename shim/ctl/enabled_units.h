/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enabled_units.h - the services that are started through hugexec: an empty file named after each, below
 * /etc/hugexec/units.d, or /run/hugexec/units.d until the next boot.
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

/* Add UNIT to FOLDER, or take it away; what is so already is none the worse. Returns 0, or -1 with ERR "drop-in". */
int enabled_add(const char *folder, const char *unit, struct error *err);
int enabled_remove(const char *folder, const char *unit, struct error *err);
