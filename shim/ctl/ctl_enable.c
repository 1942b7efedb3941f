/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl enable, disable, list: services that hugexec-generator has systemd start through hugexec.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/ctl.h"
#include "ctl/drop_in.h"
#include "ctl/enable_tell.h"
#include "ctl/enable_trial.h"
#include "ctl/enable_unit.h"
#include "ctl/enabled_units.h"
#include "ctl/unit_outcome.h"

static const char enable_help[] = "Usage: hugexecctl enable [OPTIONS] UNIT...\n"
                                  "Start the services UNIT through hugexec from now on. Each gets a name in\n"
                                  "" ENABLED_FOLDER ", and hugexec-generator makes a drop-in of the\n"
                                  "unit's files for it whenever systemd reloads.\n"
                                  "\n"
                                  "  --now            restart UNIT too (start a stopped one; of a template, restart\n"
                                  "                   what runs) and see that it stays active; if not, take\n"
                                  "                   everything back and restart it as it was\n"
                                  "  --runtime        until the next boot: in " ENABLED_RUNTIME_FOLDER "\n"
                                  "  --dry-run        print the drop-in, change nothing\n"
                                  "  --migrate        all units that version 0.1 gave a drop-in in /etc\n"
                                  "  --json           print JSON, for programs\n"
                                  "  -h, --help       this text\n"
                                  "\n"
                                  "Exit status: 0; 1 if it cannot be done for a unit, which is as before then; 2\n"
                                  "for wrong usage.\n";

static const char disable_help[] = "Usage: hugexecctl disable [OPTIONS] UNIT... | --all\n"
                                   "Undo hugexecctl enable.\n"
                                   "\n"
                                   "  --now            restart UNIT too, if it runs (of a template all instances)\n"
                                   "  --all            all that are enabled\n"
                                   "  --json           print JSON, for programs\n"
                                   "  -h, --help       this text\n"
                                   "\n"
                                   "Exit status: 0; 1 if it cannot be done; 2 for wrong usage.\n";

static const char list_help[] = "Usage: hugexecctl list [OPTIONS]\n"
                                "Show the services that are enabled: are they active, how much of the main\n"
                                "process's text is on huge pages, or what the journal has of the last start.\n"
                                "\n"
                                "  --no-legend      no heading\n"
                                "  --json           print JSON, for programs\n"
                                "  -h, --help       this text\n"
                                "\n"
                                "Exit status: 0; 1 if systemd does not answer; 2 for wrong usage.\n";

static int complain(const struct error *err)
{
	char text[ERROR_TEXT_BYTES];
	fprintf(stderr, "hugexecctl: %s\n", error_text(err, text, sizeof text));
	return err->code == REASON_USAGE ? CTL_USAGE : CTL_NO;
}

/* Names of units, each once; they are the list's. */
struct names {
	char *list[ENABLED_MAX];
	size_t count;
};

static void add_name(void *context, const char *unit, bool runtime)
{
	struct names *names = context;
	(void)runtime;
	for (size_t i = 0; i < names->count; i++) {
		if (strcmp(names->list[i], unit) == 0)
			return;
	}
	if (names->count < ENABLED_MAX && (names->list[names->count] = strdup(unit)) != NULL)
		names->count++;
}

/* Those with a drop-in that version 0.1 wrote. */
static void add_old(struct names *names)
{
	static const char *const folders[] = {UNITS_FOLDER, UNITS_RUNTIME_FOLDER};
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		cleanup_closedir DIR *folder = opendir(folders[i]);
		for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
			struct drop_in drop_in;
			char *end = strstr(entry->d_name, ".service.d");
			if (!end || end[sizeof ".service.d" - 1])
				continue;
			end[sizeof ".service" - 1] = '\0';
			drop_in_locate(&drop_in, folders[i], entry->d_name);
			if (enabled_is_name(entry->d_name) && drop_in_look(&drop_in) == DROP_IN_OURS)
				add_name(names, entry->d_name, false);
		}
	}
}

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names);
}

static const struct option enable_options[] = {{"now", no_argument, NULL, 'n'},
                                               {"help", no_argument, NULL, 'h'},
                                               {"runtime", no_argument, NULL, 'r'},
                                               {"dry-run", no_argument, NULL, 'd'},
                                               {"migrate", no_argument, NULL, 'a'},
                                               {"json", no_argument, NULL, 'j'},
                                               {NULL, 0, NULL, 0}};
static const struct option disable_options[] = {{"now", no_argument, NULL, 'n'},
                                                {"all", no_argument, NULL, 'a'},
                                                {"json", no_argument, NULL, 'j'},
                                                {"help", no_argument, NULL, 'h'},
                                                {NULL, 0, NULL, 0}};

struct verb {
	const char *help;
	const struct option *known;
	int (*run)(sd_bus *, const struct enable_options *, const char *, struct error *);
};

/* The units of ARGV, or those that --all and --migrate mean. Returns CTL_OK or CTL_USAGE. */
static int find_names(int argc, char **argv, const struct verb *verb, bool all, struct names *names)
{
	if ((argc == optind) != all)
		return ctl_wrong_usage(argv[0], all ? "it takes no UNIT beside that option" : "it takes a UNIT");
	if (all)
		add_old(names);
	if (all && verb->run == disable_unit)
		enabled_each(add_name, names);
	for (int i = optind; i < argc; i++) {
		char name[UNIT_NAME_MAX + 1];
		struct error err = {0};
		if (unit_full_name(argv[i], name, &err) < 0)
			return ctl_wrong_usage(argv[0], "%s", err.detail);
		add_name(names, name, false);
	}
	return CTL_OK;
}

/* Each unit in turn; those that a signal leaves out are not told. */
static int run_units(sd_bus *bus, const struct verb *verb, const struct enable_options *asked,
                     const struct names *names, json_object *units)
{
	int status = CTL_OK;
	trial_guard();
	for (size_t i = 0; i < names->count && !trial_is_interrupted(); i++) {
		struct enable_options options = *asked;
		struct error err = {0};
		options.told = units ? json_object_new_object() : NULL;
		fflush(stdout);
		if (verb->run(bus, &options, names->list[i], &err) < 0)
			status = complain(&err);
		tell_end(options.told, names->list[i], &err);
		if (units)
			json_object_array_add(units, options.told);
	}
	return trial_is_interrupted() ? CTL_NO : status;
}

static int run_all(const struct verb *verb, const struct enable_options *options, const struct names *names)
{
	struct error err = {0};
	sd_bus *bus = NULL;
	json_object *units = options->json ? json_object_new_array() : NULL;
	int status = CTL_OK;
	if (names->count > 0)
		status = unit_connect(&bus, &err) < 0 ? complain(&err) : run_units(bus, verb, options, names, units);
	sd_bus_flush_close_unref(bus);
	if (options->json) {
		json_object *document = json_object_new_object();
		json_object_object_add(document, "version", json_object_new_int(1));
		json_object_object_add(document, "units", units);
		ctl_print_json(document);
	}
	return status;
}

static int run_verb(int argc, char **argv, const struct verb *verb)
{
	struct enable_options options = {.now = false};
	for (int option; (option = ctl_option(argc, argv, "h", verb->known)) != -1;) {
		options.now |= option == 'n';
		options.runtime |= option == 'r';
		options.dry_run |= option == 'd';
		options.all |= option == 'a';
		options.json |= option == 'j';
		if (option == 'h') {
			fputs(verb->help, stdout);
			return CTL_OK;
		}
		if (option == '?')
			return CTL_USAGE;
	}
	struct names *names = calloc(1, sizeof *names);
	if (!names)
		return CTL_NO;
	int status = find_names(argc, argv, verb, options.all, names);
	if (status == CTL_OK)
		status = run_all(verb, &options, names);
	free_names(names);
	return status;
}

int ctl_enable(int argc, char **argv)
{
	return run_verb(argc, argv, &(struct verb){enable_help, enable_options, enable_unit});
}

int ctl_disable(int argc, char **argv)
{
	return run_verb(argc, argv, &(struct verb){disable_help, disable_options, disable_unit});
}

struct listing {
	sd_bus *bus;
	json_object *json; /* NULL: a table */
	bool no_legend;
	unsigned count;
};

static void on_listed(void *context, const char *name, bool runtime)
{
	struct listing *listing = context;
	struct unit unit = {.name = NULL};
	struct unit_state state = {.active = "not-found"};
	struct unit_outcome outcome = {.text_bytes = 0};
	char text[640];
	bool abandoned = enabled_is_abandoned(runtime ? ENABLED_RUNTIME_FOLDER : ENABLED_FOLDER, name);
	if (unit_load(listing->bus, name, &unit, NULL) == 0) {
		unit_read_state(listing->bus, &unit, &state, NULL);
		unit_outcome_read(unit.name, (pid_t)state.main_pid, &outcome);
		unit_free(&unit);
	}
	if (listing->json) {
		json_object *json = json_object_new_object();
		json_object_object_add(json, "unit", ctl_text(name));
		json_object_object_add(json, "runtime", json_object_new_boolean(runtime));
		json_object_object_add(json, "active", ctl_text(state.active));
		json_object_object_add(json, "abandoned", json_object_new_boolean(abandoned));
		unit_outcome_to_json(&outcome, json);
		json_object_array_add(listing->json, json);
		return;
	}
	if (listing->count++ == 0 && !listing->no_legend)
		printf("%-32s %s\n", "UNIT", "STATE");
	printf("%-32s %s%s\n", name, state.active, runtime ? " (until the next boot)" : "");
	if (abandoned)
		ctl_print_wrapped(2,
		                  "enable was ended while it tried this unit: it starts without hugexec from the next "
		                  "daemon-reload on. Disable it with --now, or enable it again");
	ctl_print_wrapped(2, unit_outcome_text(&outcome, text, sizeof text));
}

int ctl_list(int argc, char **argv)
{
	static const struct option known[] = {{"json", no_argument, NULL, 'j'},
	                                      {"no-legend", no_argument, NULL, 'l'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct listing listing = {.json = NULL};
	struct error err = {0};
	bool json = false;
	for (int option; (option = ctl_option(argc, argv, "h", known)) != -1;) {
		json |= option == 'j';
		listing.no_legend |= option == 'l';
		if (option == 'h') {
			fputs(list_help, stdout);
			return CTL_OK;
		}
		if (option == '?')
			return CTL_USAGE;
	}
	if (optind < argc)
		return ctl_wrong_usage(argv[0], "it takes no UNIT");
	if (unit_connect(&listing.bus, &err) < 0)
		return complain(&err);
	listing.json = json ? json_object_new_array() : NULL;
	enabled_each(on_listed, &listing);
	sd_bus_flush_close_unref(listing.bus);
	if (json) {
		json_object *document = json_object_new_object();
		json_object_object_add(document, "version", json_object_new_int(1));
		json_object_object_add(document, "units", listing.json);
		ctl_print_json(document);
	} else if (listing.count == 0 && !listing.no_legend) {
		puts("No unit is enabled: hugexecctl enable UNIT.");
	}
	return CTL_OK;
}
