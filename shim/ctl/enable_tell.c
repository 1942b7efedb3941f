/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/enable_tell.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

#define LINE_BYTES 1024

void tell_forecast(json_object *told, const char *unit, const char *text)
{
	char line[LINE_BYTES], shown[LINE_BYTES];
	if (told) {
		json_object_object_add(told, "forecast", ctl_text(text));
		return;
	}
	snprintf(line, sizeof line, "%s: %s", unit, text);
	ctl_wrap(stderr, 0, text_printable(line, shown, sizeof shown));
}

/* Adds TEXT to the list KEY of TOLD. */
static void add_to_list(json_object *told, const char *key, const char *text)
{
	json_object *list;
	if (!json_object_object_get_ex(told, key, &list)) {
		list = json_object_new_array();
		json_object_object_add(told, key, list);
	}
	json_object_array_add(list, ctl_text(text));
}

void tell_part(json_object *told, const char *unit, const char *part)
{
	char line[LINE_BYTES];
	if (told) {
		add_to_list(told, "parts", part);
		return;
	}
	snprintf(line, sizeof line, "%s: %s is part of it, and is enabled by its own name", unit, part);
	ctl_wrap(stderr, 0, line);
}

void tell_drop_in(json_object *told, const char *text)
{
	if (told)
		json_object_object_add(told, "drop_in", ctl_text(text));
	else
		fputs(text, stdout);
}

void tell_removed(json_object *told, const char *path)
{
	if (told)
		add_to_list(told, "removed", path);
	else
		printf("Removed %s\n", path);
}

void tell_enabled(json_object *told, const char *folder, const struct unit *unit, bool its_restart)
{
	char line[LINE_BYTES];
	size_t length = unit->is_template ? strcspn(unit->name, "@") + 1 : strlen(unit->name);
	snprintf(line, sizeof line, "%s/%s", folder, unit->name);
	if (told) {
		json_object_object_add(told, "added", ctl_text(line));
		return;
	}
	printf("Enabled %s: %s\n", unit->name, line);
	if (!its_restart)
		return;
	snprintf(line, sizeof line, "It starts through hugexec from its next start on: systemctl restart '%.*s%s'",
	         (int)length, unit->name, unit->is_template ? "*.service" : "");
	ctl_print_wrapped(0, line);
}

void tell_outcome(json_object *told, const char *unit, const char *active, const struct unit_outcome *outcome)
{
	char line[LINE_BYTES], text[640];
	json_object *outcomes;
	if (!told) {
		snprintf(line, sizeof line, "%s is %s: %s", unit, active,
		         unit_outcome_text(outcome, text, sizeof text));
		ctl_print_wrapped(0, line);
		return;
	}
	if (!json_object_object_get_ex(told, "restarted", &outcomes)) {
		outcomes = json_object_new_array();
		json_object_object_add(told, "restarted", outcomes);
	}
	json_object *json = json_object_new_object();
	json_object_object_add(json, "unit", ctl_text(unit));
	json_object_object_add(json, "active", ctl_text(active));
	unit_outcome_to_json(outcome, json);
	json_object_array_add(outcomes, json);
}

void tell_not_enabled(json_object *told, const char *unit)
{
	if (!told)
		printf("%s is not enabled\n", unit);
}

void tell_end(json_object *told, const char *unit, const struct error *err)
{
	char text[ERROR_TEXT_BYTES];
	if (!told)
		return;
	json_object_object_add(told, "unit", ctl_text(unit));
	json_object_object_add(told, "done", json_object_new_boolean(!error_is_set(err)));
	json_object_object_add(told, "reason", error_is_set(err) ? ctl_text(error_text(err, text, sizeof text)) : NULL);
}
