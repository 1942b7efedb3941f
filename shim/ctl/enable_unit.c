/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "ctl/enable_unit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/kill_switch.h"
#include "ctl/drop_in.h"
#include "ctl/enable_tell.h"
#include "ctl/enable_trial.h"
#include "ctl/enabled_units.h"
#include "ctl/explain.h"
#include "ctl/unit_compose.h"

static const char *const old_folders[] = {UNITS_FOLDER, UNITS_RUNTIME_FOLDER};
enum { OLD_FOLDERS = sizeof old_folders / sizeof old_folders[0] };

/* What the generator would write of UNIT now, in a fresh string; NULL with ERR. */
static char *compose(const char *unit, struct error *err)
{
	struct unit_files files;
	struct unit_needs needs;
	char *text = NULL;
	static struct unit_paths paths; /* large */
	if (unit_needs_find(&needs, err) < 0 || unit_files_read("", UNIT_DROP_IN_NAME, &files, err) < 0)
		return NULL;
	unit_compose(&files, &needs, unit, &paths, &text, err);
	unit_files_free(&files);
	return text;
}

static bool starts_through_hugexec(const struct exec_commands *commands)
{
	static const char *const paths[] = {HUGEXEC_LIBEXECDIR "/hugexec-launch", HUGEXEC_BINDIR "/hugexec"};
	for (size_t i = 0; i < commands->count; i++) {
		if (strcmp(commands->list[i].path, paths[0]) != 0 && strcmp(commands->list[i].path, paths[1]) != 0)
			return false;
	}
	return commands->count > 0;
}

/* Whether systemd, which has reloaded, reads the words that were meant: those of UNIT, with hugexec before them. */
static int check_taken(sd_bus *bus, const struct unit *unit, struct error *err)
{
	struct unit now;
	struct exec_commands meant = {.count = 0};
	if (unit_load(bus, unit->name, &now, err) < 0)
		return -1;
	int result = starts_through_hugexec(&now.commands) ? 0 : -1;
	if (result == 0 && !starts_through_hugexec(&unit->commands)) {
		result = exec_commands_prefix(&unit->commands, HUGEXEC_LIBEXECDIR "/hugexec-launch", &meant, NULL);
		if (result == 0 && !exec_commands_equal(&now.commands, &meant))
			result = -1;
	}
	if (result < 0)
		error_set(err, REASON_NOT_TAKEN,
		          "systemd reads another ExecStart= of %s than was meant; its journal may say why", unit->name);
	exec_commands_free(&meant);
	unit_free(&now);
	return result;
}

/* With the generator's drop-in there, those that version 0.1 wrote are needed no more. Returns how many went. A file
 * that was changed by hand stays; if OTHERS_MATTER, that is a failure. */
static int remove_old(const char *unit, bool others_matter, json_object *told, struct error *err)
{
	int removed = 0;
	for (size_t i = 0; i < OLD_FOLDERS; i++) {
		struct drop_in drop_in;
		drop_in_locate(&drop_in, old_folders[i], unit);
		enum drop_in_state state = drop_in_look(&drop_in);
		if (state == DROP_IN_NONE || (state == DROP_IN_FOREIGN && !others_matter))
			continue;
		if (drop_in_remove(&drop_in, err) < 0)
			return -1;
		tell_removed(told, drop_in.path);
		removed++;
	}
	return removed;
}

struct instances {
	sd_bus *bus;
	struct error *err;
	int (*each)(sd_bus *bus, const struct unit *unit, struct error *err);
};

static int on_instance(void *context, const char *name)
{
	struct instances *instances = context;
	struct unit unit;
	if (unit_load(instances->bus, name, &unit, instances->err) < 0)
		return -1;
	int result = instances->each(instances->bus, &unit, instances->err);
	unit_free(&unit);
	return result;
}

static int take_back_running(sd_bus *bus, const struct unit *unit, struct error *err)
{
	const struct unit_state ran = {.active = "active"};
	return trial_take_back(bus, unit, &ran, err);
}

static int each_instance(sd_bus *bus, const struct unit *unit,
                         int (*each)(sd_bus *bus, const struct unit *unit, struct error *err), struct error *err)
{
	struct instances instances = {.bus = bus, .err = err, .each = each};
	return unit_each_instance(bus, unit, on_instance, &instances, err);
}

struct restarted {
	sd_bus *bus;
	json_object *told;
	struct error *err;
};

static int on_restarted(void *context, const char *name)
{
	const struct restarted *restarted = context;
	struct unit unit;
	struct unit_state state;
	struct unit_outcome outcome;
	if (unit_load(restarted->bus, name, &unit, restarted->err) < 0)
		return -1;
	int result = unit_read_state(restarted->bus, &unit, &state, restarted->err);
	if (result == 0) {
		unit_outcome_read(unit.name, (pid_t)state.main_pid, &outcome);
		tell_outcome(restarted->told, unit.name, state.active, &outcome);
	}
	unit_free(&unit);
	return result;
}

/* FOLDER no longer has UNIT, and systemd knows; what ran runs as it did. WHY: what failed. Always -1. */
static int take_back(sd_bus *bus, const struct unit *unit, const char *folder, const struct unit_state *state,
                     struct error *err)
{
	static const char *const reload[] = {"daemon-reload", NULL};
	struct error why = *err, again = {0};
	int result = folder ? enabled_remove(folder, unit->name, &again) : 0;
	fault_point("enable-unnamed");
	/* The D-Bus may be what has failed: root's systemctl needs none. */
	if (result == 0 && unit_reload_all(bus, &again) < 0)
		result = trial_systemctl(reload) ? 0 : -1;
	fault_point("enable-unloaded");
	if (result == 0 && state)
		result = unit->is_template ? each_instance(bus, unit, take_back_running, &again)
		                           : trial_take_back(bus, unit, state, &again);
	if (result < 0)
		return error_set(err, why.code, "%.200s; and it could not all be taken back: %.200s", why.detail,
		                 again.detail);
	return error_set(err, why.code, "%.240s; %s", why.detail,
	                 state ? "all was taken back, and it runs as before" : "all was taken back");
}

/* UNIT is named: does systemd take it, and with --now, does the unit stay active? If so, TRIAL (-1: there is none) ends
 * well; otherwise ADDED has it no more. */
static int try_unit(sd_bus *bus, const struct enable_options *options, const struct unit *unit, const char *added,
                    int trial, struct error *err)
{
	struct unit_state before;
	fault_point("enable-named");
	int result = unit_read_state(bus, unit, &before, err) < 0 ? -1 : unit_reload_all(bus, err);
	fault_point("enable-reloaded");
	if (result < 0 || check_taken(bus, unit, err) < 0)
		return take_back(bus, unit, added, NULL, err);
	fault_point("enable-taken");
	if (options->now &&
	    (unit->is_template ? each_instance(bus, unit, trial_restart, err) : trial_restart(bus, unit, err)) < 0)
		return take_back(bus, unit, added, &before, err);
	if (trial >= 0 && enabled_keep(trial, err) < 0)
		return take_back(bus, unit, added, options->now ? &before : NULL, err);
	fault_point("enable-kept");
	return 0;
}

static int add(sd_bus *bus, const struct enable_options *options, const struct unit *unit, struct error *err)
{
	const char *folder = options->runtime ? ENABLED_RUNTIME_FOLDER : ENABLED_FOLDER;
	bool had = enabled_has(folder, unit->name) && !enabled_is_abandoned(folder, unit->name);
	cleanup_close int trial = had ? -1 : enabled_try(folder, unit->name, err);
	if ((!had && trial < 0) || try_unit(bus, options, unit, had ? NULL : folder, trial, err) < 0)
		return -1;
	/* The order does not matter: ours has the last word, with the old ones there or not. */
	int removed = remove_old(unit->name, false, options->told, err);
	if (removed < 0 || (removed > 0 && unit_reload_all(bus, err) < 0))
		return -1;
	tell_enabled(options->told, folder, unit, !options->now);
	struct restarted restarted = {bus, options->told, err};
	return options->now ? unit_each_instance(bus, unit, on_restarted, &restarted, err) : 0;
}

/* What would come of the unit's first program, as explain says. */
static void say_forecast(json_object *told, const struct unit *unit)
{
	const struct exec_command *command = &unit->commands.list[0];
	char *const *word = command->argv;
	char text[640];
	if (starts_through_hugexec(&unit->commands)) {
		while (*word && strcmp(*word, "--") != 0)
			word++;
		word += *word ? 1 : 0;
	}
	const char *program = word == command->argv ? command->path : *word;
	const struct explain_request request = {.command = program, .unit = unit->name};
	if (program && explain_foretell(&request, text, sizeof text) == EXPLAINED)
		tell_forecast(told, unit->name, text);
}

struct parts {
	json_object *told;
	const char *unit;
};

static void on_part(void *context, const char *name)
{
	const struct parts *parts = context;
	tell_part(parts->told, parts->unit, name);
}

int enable_unit(sd_bus *bus, const struct enable_options *options, const char *name, struct error *err)
{
	struct unit unit;
	if (access(KILL_SWITCH_FILE, F_OK) == 0)
		return error_set(err, REASON_NOT_TAKEN,
		                 KILL_SWITCH_FILE " switches hugexec off for all units: remove it");
	if (unit_load(bus, name, &unit, err) < 0)
		return -1;
	cleanup_free char *text = compose(unit.name, err);
	int result = text ? 0 : -1;
	if (text) {
		struct parts parts = {options->told, unit.name};
		say_forecast(options->told, &unit);
		unit_each_part(bus, &unit, on_part, &parts, NULL); /* a hint, which nobody has to have */
	}
	if (text && options->dry_run)
		tell_drop_in(options->told, text);
	else if (text)
		result = add(bus, options, &unit, err);
	unit_free(&unit);
	return result;
}

/* Restart what runs; a unit that is stopped stays so. */
static int restart_running(sd_bus *bus, const struct unit *unit, struct error *err)
{
	const char *words[] = {"try-restart", "--", unit->name, NULL};
	struct unit_state state;
	if (trial_systemctl(words))
		return 0;
	if (unit_read_state(bus, unit, &state, err) < 0)
		return -1;
	return error_set(err, REASON_UNIT_DOWN, "%s is %s after its restart without hugexec", unit->name, state.active);
}

int disable_unit(sd_bus *bus, const struct enable_options *options, const char *name, struct error *err)
{
	static const char *const folders[] = {ENABLED_FOLDER, ENABLED_RUNTIME_FOLDER};
	struct unit unit = {.name = NULL};
	/* A unit that is gone, or broken, is disabled under the name that was given. */
	bool is_there = unit_load(bus, name, &unit, NULL) == 0;
	char *real = strdup(is_there ? unit.name : name);
	int removed =
	    real ? remove_old(real, true, options->told, err) : error_set(err, REASON_MEMORY, "for the unit's name");
	char path[PATH_MAX];
	for (size_t i = 0; removed >= 0 && i < sizeof folders / sizeof folders[0]; i++) {
		const char *names[] = {real, name};
		for (size_t j = 0; j < 2; j++) {
			if (!enabled_has(folders[i], names[j]))
				continue;
			if (enabled_remove(folders[i], names[j], err) < 0) {
				removed = -1;
				break;
			}
			snprintf(path, sizeof path, "%s/%s", folders[i], names[j]);
			tell_removed(options->told, path);
			removed++;
		}
	}
	int result = removed < 0 ? -1 : 0;
	fault_point("disable-unnamed");
	if (removed > 0)
		result = unit_reload_all(bus, err);
	else if (removed == 0)
		tell_not_enabled(options->told, name);
	fault_point("disable-reloaded");
	if (result == 0 && removed > 0 && options->now && is_there)
		result = each_instance(bus, &unit, restart_running, err);
	unit_free(&unit);
	free(real);
	return result;
}
