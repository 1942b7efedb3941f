/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enable_tell.h - what enable and disable have done with a unit, told in lines, or as members of a JSON object.
 */
#pragma once

#include <json-c/json.h>

#include "ctl/unit.h"
#include "ctl/unit_outcome.h"

/* TOLD in all of them: the unit's object; NULL: lines on standard output. */

/* What would come of its launch; in lines on standard error, because a drop-in may follow. */
void tell_forecast(json_object *told, const char *unit, const char *text);

/* PART, a service of its own, is part of UNIT. */
void tell_part(json_object *told, const char *unit, const char *part);

/* What --dry-run shows. */
void tell_drop_in(json_object *told, const char *text);

/* The file PATH is gone. */
void tell_removed(json_object *told, const char *path);

/* UNIT stands in FOLDER now; ITS_RESTART: it takes effect at its next start, which is not ours to ask for. */
void tell_enabled(json_object *told, const char *folder, const struct unit *unit, bool its_restart);

/* UNIT, an instance perhaps, was restarted. */
void tell_outcome(json_object *told, const char *unit, const char *active, const struct unit_outcome *outcome);

/* There was nothing to disable. */
void tell_not_enabled(json_object *told, const char *unit);

/* UNIT is through; ERR says why nothing was done, if that is set. */
void tell_end(json_object *told, const char *unit, const struct error *err);
