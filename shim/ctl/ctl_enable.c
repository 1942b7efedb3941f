/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl enable, disable: put hugexec before a unit's ExecStart= with a drop-in, and take it away.
 *
 *   unit over D-Bus -> ExecStart= with the prefix -> systemd-analyze verify, beside the real files -> drop-in written
 * -> reload -> the unit over D-Bus again: is that what was meant? else the drop-in is removed
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/retry.h"
#include "base/size.h"
#include "config.h"
#include "ctl/ctl.h"
#include "ctl/drop_in.h"
#include "ctl/unit.h"

#define FOLDER         "/etc/systemd/system"
#define RUNTIME_FOLDER "/run/systemd/system"
#define HUGEXEC        HUGEXEC_BINDIR "/hugexec"
#define UNIT_FILE_MAX  MIB

static const char enable_help[] = "Usage: hugexecctl enable [OPTIONS] UNIT\n"
                                  "Start the service UNIT through hugexec from now on: write the drop-in\n"
                                  "" FOLDER "/UNIT.d/50-hugexec.conf and have systemd read it. After a\n"
                                  "change of the unit's own ExecStart=, enable it again.\n"
                                  "\n"
                                  "  --now            restart UNIT too, if it runs (of a template all instances)\n"
                                  "  --runtime        until the next boot: below /run/systemd/system\n"
                                  "  --dry-run        print the drop-in, change nothing\n"
                                  "  -h, --help       this text\n"
                                  "\n"
                                  "Exit status: 0; 1 if it cannot be done, and nothing was changed; 2 for wrong\n"
                                  "usage.\n";

static const char disable_help[] = "Usage: hugexecctl disable [OPTIONS] UNIT\n"
                                   "Undo hugexecctl enable: remove the drop-in, if that is as it was written.\n"
                                   "\n"
                                   "  --now            restart UNIT too, if it runs (of a template all instances)\n"
                                   "  -h, --help       this text\n"
                                   "\n"
                                   "Exit status: 0; 1 if it cannot be done; 2 for wrong usage.\n";

struct options {
	bool now, runtime, dry_run;
	char name[UNIT_NAME_MAX + 1];
};

static int complain(const struct error *err)
{
	char text[ERROR_TEXT_BYTES];
	fprintf(stderr, "hugexecctl: %s\n", error_text(err, text, sizeof text));
	return err->code == REASON_USAGE ? CTL_USAGE : CTL_NO;
}

/* Run a program to its end, with what it says in OUTPUT (an fd; -1: as ours). Returns its status; 127: it is not there.
 */
static int run_tool(const char *const *words, const char *unit_path, int output)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		if (unit_path)
			setenv("SYSTEMD_UNIT_PATH", unit_path, 1);
		if (output >= 0 && (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0))
			_exit(126);
		execvp(words[0], (char *const *)(uintptr_t)words);
		_exit(127);
	}
	if (child < 0 || retry(waitpid(child, &status, 0)) < 0)
		return 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* What systemd-analyze says of UNIT with the unit files of UNIT_PATH (NULL: as they are), into OUTPUT. */
static int verify(const char *unit, const char *unit_path, int output)
{
	const char *words[] = {"systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--", unit, NULL};
	return run_tool(words, unit_path, output);
}

/* Have systemd's own parser read TEXT as a drop-in of UNIT, from a folder that systemd does not know. */
static int validate(const char *unit, const char *text, struct error *err)
{
	char folder[] = "/tmp/hugexec-XXXXXX", unit_path[sizeof folder + 1], said[400] = "";
	struct drop_in trial;
	cleanup_fclose FILE *output = tmpfile();
	if (!output || !mkdtemp(folder))
		return error_set_errno(err, errno, REASON_VERIFY, "/tmp");
	drop_in_locate(&trial, folder, unit);
	snprintf(unit_path, sizeof unit_path, "%s:", folder); /* and then the usual ones */
	int result = drop_in_write(&trial, text, err);
	if (result == 0) {
		int status = verify(unit, unit_path, fileno(output));
		/* A unit that had its faults before is none the worse for ours. */
		if (status != 0 && status != 127 && verify(unit, NULL, fileno(output)) == 0) {
			ssize_t got = pread(fileno(output), said, sizeof said - 1, 0);
			said[got > 0 ? got : 0] = '\0';
			result = error_set(err, REASON_VERIFY, "systemd rejects the drop-in: %s", said);
		}
	}
	drop_in_remove(&trial, NULL);
	rmdir(folder);
	return result;
}

static int check_file(const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	if (!*path || read_file_at(AT_FDCWD, path, UNIT_FILE_MAX, &text, NULL) < 0)
		return 0;
	char specifier = exec_fleeting_specifier(text);
	if (!specifier)
		return 0;
	return error_set(
	    err, REASON_UNIT_UNFIT,
	    "ExecStart= in %s has %%%c, whose value changes, while a drop-in would keep that of today: write "
	    "one by hand",
	    path, specifier);
}

/* What makes a unit one that a drop-in of ours would break, now or later. */
static int check_unit(const struct unit *unit, struct error *err)
{
	char inside[PATH_MAX];
	if (*unit->root_image)
		return error_set(err, REASON_UNIT_UNFIT, "%s has a RootImage=: hugexec would have to be in it",
		                 unit->name);
	snprintf(inside, sizeof inside, "%s" HUGEXEC, unit->root_directory);
	if (*unit->root_directory && access(inside, X_OK) < 0)
		return error_set(err, REASON_UNIT_UNFIT, "%s has a RootDirectory=, and there is no %s", unit->name,
		                 inside);
	if (access(HUGEXEC, X_OK) < 0)
		return error_set_errno(err, errno, REASON_UNIT_UNFIT, "%s", HUGEXEC);
	if (check_file(unit->fragment, err) < 0)
		return -1;
	for (char **path = unit->drop_ins; path && *path; path++) {
		if (check_file(*path, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * What the journal calls a unit's output is the name of the program in ExecStart=, which is hugexec from now on: name
 * the one of before, if all commands have the same and the unit names none.
 */
static void keep_identifier(FILE *stream, const struct unit *unit)
{
	const char *first = NULL;
	if (*unit->syslog_identifier)
		return;
	for (size_t i = 0; i < unit->commands.count; i++) {
		const char *path = unit->commands.list[i].path, *slash = strrchr(path, '/');
		const char *name = slash ? slash + 1 : path;
		if (first && strcmp(first, name) != 0)
			return;
		first = name;
	}
	fputs("SyslogIdentifier=", stream);
	exec_text_print(stream, first, unit->is_template);
	fputc('\n', stream);
}

/* The drop-in's text, in a fresh string; NULL when out of memory. */
static char *compose(const struct unit *unit, const struct exec_commands *commands)
{
	cleanup_free char *body = NULL;
	size_t bytes = 0;
	FILE *stream = open_memstream(&body, &bytes);
	if (!stream)
		return NULL;
	fputs("[Service]\nExecStart=\n", stream);
	for (size_t i = 0; i < commands->count; i++)
		exec_line_print(stream, &commands->list[i], unit->is_template);
	keep_identifier(stream, unit);
	return fclose(stream) == 0 ? drop_in_text(body) : NULL;
}

/* Write TEXT, have it read, and look whether systemd understood it as it was meant; else all is as before. */
static int put(sd_bus *bus, const struct unit *unit, const struct exec_commands *meant, const struct drop_in *drop_in,
               const char *text, struct error *err)
{
	struct exec_commands got = {.count = 0};
	if (drop_in_write(drop_in, text, err) < 0)
		return -1;
	int result = unit_reload_all(bus, err);
	if (result == 0)
		result = unit_read_commands(bus, unit, &got, err);
	if (result == 0 && !exec_commands_equal(&got, meant))
		result = error_set(err, REASON_NOT_TAKEN,
		                   "systemd reads another ExecStart= from %s: if another drop-in has the last word, "
		                   "remove its ExecStart=",
		                   drop_in->path);
	exec_commands_free(&got);
	if (result < 0) {
		drop_in_remove(drop_in, NULL);
		unit_reload_all(bus, NULL);
	}
	return result;
}

static int finish(const struct options *options, const struct unit *unit, const char *how)
{
	/* Of a template, all instances that run: systemctl takes patterns. */
	char pattern[UNIT_NAME_MAX + 2];
	const char *at = unit->is_template ? strchr(unit->name, '@') : NULL;
	if (at)
		snprintf(pattern, sizeof pattern, "%.*s@*.service", (int)(at - unit->name), unit->name);
	else
		snprintf(pattern, sizeof pattern, "%s", unit->name);
	if (!options->now) {
		printf("%s starts %s hugexec from its next start on: systemctl restart '%s'\n", unit->name, how,
		       pattern);
		return CTL_OK;
	}
	fflush(stdout);
	const char *words[] = {"systemctl", "try-restart", "--", pattern, NULL};
	return run_tool(words, NULL, -1) == 0 ? CTL_OK : CTL_NO;
}

/* The unit as it is without a drop-in of ours, which is away from here to the end; *OLD: its text. */
static int load_plain(sd_bus *bus, const struct options *options, struct unit *unit, struct drop_in *drop_in,
                      char **old, struct error *err)
{
	*old = NULL;
	if (unit_load(bus, options->name, unit, err) < 0)
		return -1;
	drop_in_locate(drop_in, options->runtime ? RUNTIME_FOLDER : FOLDER, unit->name);
	enum drop_in_state state = drop_in_look(drop_in, old);
	if (state == DROP_IN_NONE || options->dry_run)
		return 0;
	if (drop_in_remove(drop_in, err) < 0) /* somebody else's: said, and left alone */
		return -1;
	unit_free(unit);
	return unit_reload_all(bus, err) < 0 || unit_load(bus, options->name, unit, err) < 0 ? -1 : 0;
}

static int enable(sd_bus *bus, const struct options *options, struct unit *unit, struct drop_in *drop_in,
                  const char *old, struct error *err)
{
	struct exec_commands commands;
	if (old && options->dry_run) {
		fputs(old, stdout);
		fputs("hugexecctl: this drop-in is there already; without --dry-run it is written anew, from what the "
		      "unit's "
		      "own ExecStart= says then\n",
		      stderr);
		return CTL_OK;
	}
	if (check_unit(unit, err) < 0 || exec_commands_prefix(&unit->commands, HUGEXEC, &commands, err) < 0)
		return -1;
	cleanup_free char *text = compose(unit, &commands);
	if (!text) {
		exec_commands_free(&commands);
		return error_set(err, REASON_MEMORY, "for the drop-in");
	}
	int result = validate(unit->name, text, err);
	if (result == 0 && options->dry_run)
		fputs(text, stdout);
	else if (result == 0)
		result = put(bus, unit, &commands, drop_in, text, err);
	exec_commands_free(&commands);
	if (result < 0 || options->dry_run)
		return result;
	printf("%s %s\n", old ? "Wrote anew" : "Wrote", drop_in->path);
	return finish(options, unit, "through");
}

static int enable_unit(sd_bus *bus, const struct options *options, struct error *err)
{
	struct unit unit;
	struct drop_in drop_in;
	cleanup_free char *old = NULL;
	int result = load_plain(bus, options, &unit, &drop_in, &old, err);
	if (result == 0) {
		result = enable(bus, options, &unit, &drop_in, old, err);
		unit_free(&unit);
	}
	if (result < 0 && old && drop_in_look(&drop_in, NULL) == DROP_IN_NONE) {
		drop_in_write(&drop_in, old, NULL);
		unit_reload_all(bus, NULL);
	}
	return result;
}

static int disable_unit(sd_bus *bus, const struct options *options, struct error *err)
{
	static const char *const folders[] = {FOLDER, RUNTIME_FOLDER};
	unsigned removed = 0;
	struct unit unit = {.name = NULL};
	/* A unit that is gone, or broken, has its drop-in removed under the name that was given. */
	if (unit_load(bus, options->name, &unit, NULL) < 0 && !(unit.name = strdup(options->name)))
		return error_set(err, REASON_MEMORY, "for the unit's name");
	int result = 0;
	for (size_t i = 0; result == 0 && i < sizeof folders / sizeof folders[0]; i++) {
		struct drop_in drop_in;
		drop_in_locate(&drop_in, folders[i], unit.name);
		bool there = drop_in_look(&drop_in, NULL) != DROP_IN_NONE;
		result = drop_in_remove(&drop_in, err);
		if (there && result == 0) {
			printf("Removed %s\n", drop_in.path);
			removed++;
		}
	}
	if (removed && unit_reload_all(bus, result == 0 ? err : NULL) < 0)
		result = -1;
	if (result == 0 && removed == 0)
		printf("%s has no drop-in of hugexecctl enable\n", unit.name);
	else if (result == 0)
		result = finish(options, &unit, "without");
	unit_free(&unit);
	return result;
}

static const struct option enable_options[] = {{"now", no_argument, NULL, 'n'},
                                               {"help", no_argument, NULL, 'h'},
                                               {"runtime", no_argument, NULL, 'r'},
                                               {"dry-run", no_argument, NULL, 'd'},
                                               {NULL, 0, NULL, 0}};
static const struct option disable_options[] = {
    {"now", no_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

struct verb {
	const char *help;
	const struct option *known;
	int (*run)(sd_bus *, const struct options *, struct error *);
};

static int run_verb(int argc, char **argv, const struct verb *verb)
{
	struct options options = {.now = false};
	struct error err = {0};
	sd_bus *bus = NULL;
	int option;
	while ((option = getopt_long(argc, argv, "h", verb->known, NULL)) != -1) {
		options.now |= option == 'n';
		options.runtime |= option == 'r';
		options.dry_run |= option == 'd';
		if (option == 'h') {
			fputs(verb->help, stdout);
			return CTL_OK;
		}
		if (option == '?')
			return ctl_wrong_usage(argv[0], NULL);
	}
	if (argc - optind != 1)
		return ctl_wrong_usage(argv[0], "it takes one UNIT");
	if (unit_full_name(argv[optind], options.name, &err) < 0)
		return ctl_wrong_usage(argv[0], "%s", err.detail);
	if (unit_connect(&bus, &err) < 0)
		return complain(&err);
	int result = verb->run(bus, &options, &err);
	sd_bus_flush_close_unref(bus);
	return result < 0 ? complain(&err) : result;
}

int ctl_enable(int argc, char **argv)
{
	return run_verb(argc, argv, &(struct verb){enable_help, enable_options, enable_unit});
}

int ctl_disable(int argc, char **argv)
{
	return run_verb(argc, argv, &(struct verb){disable_help, disable_options, disable_unit});
}
