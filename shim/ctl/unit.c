/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"

#define SERVICE         "org.freedesktop.systemd1"
#define MANAGER_OBJECT  "/org/freedesktop/systemd1"
#define MANAGER         "org.freedesktop.systemd1.Manager"
#define CALL_TIMEOUT_US (UINT64_C(90) * 1000 * 1000) /* a reload of a large host takes long */
#define COMMANDS_MAX    1024

static int fail(struct error *err, enum reason reason, const char *what, sd_bus_error *from, int result)
{
	if (sd_bus_error_is_set(from))
		error_set(err, reason, "%s: %s", what, from->message);
	else
		error_set_errno(err, -result, reason, "%s", what);
	sd_bus_error_free(from);
	return -1;
}

int unit_connect(sd_bus **out, struct error *err)
{
	int result = sd_bus_open_system(out);
	if (result < 0)
		return error_set(
		    err, REASON_NO_SYSTEMD,
		    "the system's D-Bus, over which systemd is asked: %s; ask where systemd runs, or start "
		    "programs with 'hugexec -- PROGRAM'",
		    strerror(-result));
	sd_bus_set_method_call_timeout(*out, CALL_TIMEOUT_US);
	return 0;
}

static const char suffix[] = ".service";

bool unit_is_name(const char *typed)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@";
	size_t length = strlen(typed);
	return length > 0 && length <= UNIT_NAME_MAX - (sizeof suffix - 1) && *typed != '.' &&
	       typed[strspn(typed, allowed)] == '\0';
}

int unit_any_name(const char *typed, char buf[UNIT_NAME_MAX + 1], struct error *err)
{
	if (!unit_is_name(typed))
		return error_set(err, REASON_USAGE, "'%s' is not a unit's name", typed);
	snprintf(buf, UNIT_NAME_MAX + 1, "%s%s", typed, strchr(typed, '.') ? "" : suffix);
	return 0;
}

/* Whether TYPED ends as the name of a unit that is no service (systemd.unit(5)). */
static bool is_other_type(const char *typed)
{
	static const char *const types[] = {".automount", ".device", ".mount", ".path",   ".scope",
	                                    ".slice",     ".socket", ".swap",  ".target", ".timer"};
	const char *point = strrchr(typed, '.');
	for (size_t i = 0; point && i < sizeof types / sizeof types[0]; i++) {
		if (strcmp(point, types[i]) == 0)
			return true;
	}
	return false;
}

int unit_full_name(const char *typed, char buf[UNIT_NAME_MAX + 1], struct error *err)
{
	size_t length = strlen(typed), suffix_length = sizeof suffix - 1;
	bool has_suffix = length > suffix_length && strcmp(typed + length - suffix_length, suffix) == 0;
	if (!unit_is_name(typed))
		return error_set(err, REASON_USAGE, "'%s' is not a unit's name", typed);
	if (!has_suffix && is_other_type(typed))
		return error_set(err, REASON_USAGE, "'%s' is not a service: only a service has a program to start",
		                 typed);
	snprintf(buf, UNIT_NAME_MAX + 1, "%s%s", typed, has_suffix ? "" : suffix);
	return 0;
}

/* The name to load for a template, or NAME. */
static void name_to_load(const char *name, bool *is_template, char *buf, size_t buf_bytes)
{
	const char *at = strstr(name, "@.service");
	*is_template = at && at[sizeof "@.service" - 1] == '\0';
	if (*is_template)
		snprintf(buf, buf_bytes, "%.*s@" EXEC_TEMPLATE_INSTANCE ".service", (int)(at - name), name);
	else
		snprintf(buf, buf_bytes, "%s", name);
}

static int get_text(sd_bus *bus, const struct unit *unit, const char *interface, const char *property, char **out,
                    struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int result = sd_bus_get_property_string(bus, SERVICE, unit->object, interface, property, &error, out);
	return result < 0 ? fail(err, REASON_NO_SYSTEMD, property, &error, result) : 0;
}

static int read_flags(sd_bus_message *message, unsigned *out)
{
	char **flags = NULL;
	int result = sd_bus_message_read_strv(message, &flags);
	for (char **flag = flags; flag && *flag; flag++) {
		unsigned known = exec_flag_of(*flag);
		if (known == 0 && result >= 0)
			result = -EOPNOTSUPP; /* a prefix that a later systemd has: what we write would lack it */
		*out |= known;
		free(*flag);
	}
	free(flags);
	return result;
}

/* (sasasttttuii): path, words, names of flags, and what became of it, which does not matter here. */
static int read_command(sd_bus_message *message, struct exec_command *out)
{
	const char *path = NULL;
	int result = sd_bus_message_read(message, "s", &path);
	if (result >= 0)
		result = sd_bus_message_read_strv(message, &out->argv);
	if (result >= 0)
		result = read_flags(message, &out->flags);
	if (result >= 0)
		result = sd_bus_message_skip(message, "ttttuii");
	if (result < 0)
		return result;
	out->path = strdup(path);
	return out->path && out->argv ? 0 : -ENOMEM;
}

static int read_commands(sd_bus_message *message, struct exec_commands *out)
{
	int result = sd_bus_message_enter_container(message, 'a', "(sasasttttuii)");
	out->list = calloc(COMMANDS_MAX, sizeof out->list[0]);
	if (!out->list)
		return -ENOMEM;
	while (result >= 0) {
		result = sd_bus_message_enter_container(message, 'r', "sasasttttuii");
		if (result <= 0)
			break;
		if (out->count == COMMANDS_MAX)
			return -E2BIG;
		result = read_command(message, &out->list[out->count++]);
		if (result >= 0)
			result = sd_bus_message_exit_container(message);
	}
	return result;
}

int unit_read_commands(sd_bus *bus, const struct unit *unit, struct exec_commands *out, struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *message = NULL;
	*out = (struct exec_commands){.count = 0};
	int result = sd_bus_get_property(bus, SERVICE, unit->object, SERVICE ".Service", "ExecStartEx", &error,
	                                 &message, "a(sasasttttuii)");
	if (result >= 0)
		result = read_commands(message, out);
	sd_bus_message_unref(message);
	if (result >= 0)
		return 0;
	exec_commands_free(out);
	return fail(err, REASON_NO_SYSTEMD, "ExecStart", &error, result);
}

static int load(sd_bus *bus, const char *name, struct unit *unit, struct error *err)
{
	char loaded[UNIT_NAME_MAX + 64];
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	const char *object = NULL;
	name_to_load(name, &unit->is_template, loaded, sizeof loaded);
	int result = sd_bus_call_method(bus, SERVICE, MANAGER_OBJECT, MANAGER, "LoadUnit", &error, &reply, "s", loaded);
	if (result >= 0)
		result = sd_bus_message_read(reply, "o", &object);
	if (result >= 0 && !(unit->object = strdup(object)))
		result = -ENOMEM;
	sd_bus_message_unref(reply);
	return result < 0 ? fail(err, REASON_NO_UNIT, name, &error, result) : 0;
}

static int read_unit(sd_bus *bus, const char *name, struct unit *unit, struct error *err)
{
	cleanup_free char *state = NULL;
	cleanup_free char *id = NULL;
	if (get_text(bus, unit, SERVICE ".Unit", "LoadState", &state, err) < 0 ||
	    get_text(bus, unit, SERVICE ".Unit", "Id", &id, err) < 0)
		return -1;
	if (strcmp(state, "loaded") != 0)
		return error_set(err, REASON_NO_UNIT, "%s: %s", name, state);
	unit->name = strdup(unit->is_template ? name : id);
	if (!unit->name)
		return error_set(err, REASON_MEMORY, "for the unit's name");
	return unit_read_commands(bus, unit, &unit->commands, err);
}

static int get_number(sd_bus *bus, const struct unit *unit, const char *property, char type, void *out,
                      struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int result =
	    sd_bus_get_property_trivial(bus, SERVICE, unit->object, SERVICE ".Service", property, &error, type, out);
	return result < 0 ? fail(err, REASON_NO_SYSTEMD, property, &error, result) : 0;
}

int unit_read_state(sd_bus *bus, const struct unit *unit, struct unit_state *out, struct error *err)
{
	cleanup_free char *active = NULL;
	cleanup_free char *result = NULL;
	cleanup_free char *type = NULL;
	if (get_text(bus, unit, SERVICE ".Unit", "ActiveState", &active, err) < 0 ||
	    get_text(bus, unit, SERVICE ".Service", "Result", &result, err) < 0 ||
	    get_text(bus, unit, SERVICE ".Service", "Type", &type, err) < 0 ||
	    get_number(bus, unit, "NRestarts", 'u', &out->restarts, err) < 0 ||
	    get_number(bus, unit, "MainPID", 'u', &out->main_pid, err) < 0 ||
	    get_number(bus, unit, "ExecMainStatus", 'i', &out->exec_status, err) < 0)
		return -1;
	snprintf(out->active, sizeof out->active, "%s", active);
	snprintf(out->result, sizeof out->result, "%s", result);
	snprintf(out->type, sizeof out->type, "%s", type);
	return 0;
}

static int on_instances(sd_bus_message *reply, int (*each)(void *context, const char *name), void *context)
{
	const char *name, *active;
	int result = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
	while (result >= 0 && (result = sd_bus_message_read(reply, "(ssssssouso)", &name, NULL, NULL, &active, NULL,
	                                                    NULL, NULL, NULL, NULL, NULL)) > 0) {
		int stops = strcmp(active, "inactive") != 0 ? each(context, name) : 0;
		if (stops)
			return stops;
	}
	return result < 0 ? result : 0;
}

int unit_each_instance(sd_bus *bus, const struct unit *unit, int (*each)(void *context, const char *name),
                       void *context, struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	char pattern[UNIT_NAME_MAX + 2];
	if (!unit->is_template)
		return each(context, unit->name);
	snprintf(pattern, sizeof pattern, "%.*s@*.service", (int)strcspn(unit->name, "@"), unit->name);
	int result = sd_bus_call_method(bus, SERVICE, MANAGER_OBJECT, MANAGER, "ListUnitsByPatterns", &error, &reply,
	                                "asas", 0, 1, pattern);
	if (result < 0)
		return fail(err, REASON_NO_SYSTEMD, pattern, &error, result);
	result = on_instances(reply, each, context);
	sd_bus_message_unref(reply);
	return result;
}

int unit_each_part(sd_bus *bus, const struct unit *unit, void (*each)(void *context, const char *name), void *context,
                   struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char **names = NULL, full[UNIT_NAME_MAX + 1];
	int result =
	    sd_bus_get_property_strv(bus, SERVICE, unit->object, SERVICE ".Unit", "ConsistsOf", &error, &names);
	for (char **name = names; name && *name; name++) {
		if (unit_full_name(*name, full, NULL) == 0)
			each(context, full);
		free(*name);
	}
	free(names);
	return result < 0 ? fail(err, REASON_NO_SYSTEMD, "ConsistsOf", &error, result) : 0;
}

int unit_load(sd_bus *bus, const char *name, struct unit *unit, struct error *err)
{
	*unit = (struct unit){.is_template = false};
	if (load(bus, name, unit, err) == 0 && read_unit(bus, name, unit, err) == 0)
		return 0;
	unit_free(unit);
	return -1;
}

int unit_reload_all(sd_bus *bus, struct error *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int result = sd_bus_call_method(bus, SERVICE, MANAGER_OBJECT, MANAGER, "Reload", &error, NULL, "");
	return result < 0 ? fail(err, REASON_NO_SYSTEMD, "reload", &error, result) : 0;
}

void unit_free(struct unit *unit)
{
	free(unit->name);
	free(unit->object);
	exec_commands_free(&unit->commands);
	*unit = (struct unit){.is_template = false};
}
