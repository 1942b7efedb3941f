/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enable_unit.h - one unit is enabled or disabled, whole or not at all.
 *
 *   its files -> the drop-in that the generator will make -> its name in units.d -> reload -> ExecStart= over D-Bus: is
 * that what was meant? -> with NOW restarted and watched; else everything is taken back, and it runs as it did
 */
#pragma once

#include <json-c/json.h>

#include "ctl/unit.h"

struct enable_options {
	bool now, runtime, dry_run, all, json;
	json_object *told; /* of the unit at hand; NULL without json */
};

/* NAME: of unit_full_name(). Returns 0, or -1 with ERR; then it is as it was, or ERR says what is not. */
int enable_unit(sd_bus *bus, const struct enable_options *options, const char *name, struct error *err);
int disable_unit(sd_bus *bus, const struct enable_options *options, const char *name, struct error *err);

#define UNITS_FOLDER         "/etc/systemd/system"
#define UNITS_RUNTIME_FOLDER "/run/systemd/system"
