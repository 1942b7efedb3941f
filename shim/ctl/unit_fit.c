/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit_fit.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#define BLANKS " \t\"'"

/* Settings that are about the first program, which is hugexec, or bring a root in which it need not be. */
static const struct {
	const char *key, *why;
} refused[] = {
    {"RootImage", "hugexec would have to be in the image"},
    {"RootMStack", "hugexec would have to be in one of its layers"}, /* systemd 260 */
    {"ExtensionImages", "the images may hide hugexec"},
    {"ExtensionDirectories", "the directories may hide hugexec"},
    {"MountImages", "an image may hide hugexec"},
    {"SELinuxContext", "the context would have to let hugexec be executed"},
    {"AppArmorProfile", "the profile would be hugexec's first, and need not let it run"},
    {"SmackProcessLabel", "the label would have to let hugexec be executed"},
    {"RestrictFileSystems", "hugexec reads /proc and may lie on another file system"},
};

static const char *const others[] = {
    "RootDirectory", "NoExecPaths", "InaccessiblePaths", "InaccessibleDirectories", "TemporaryFileSystem",
    "BindPaths",     "ProtectHome", "BindReadOnlyPaths", "SystemCallFilter",        "SystemCallErrorNumber",
    "PrivateTmp",    "Environment", "MemoryTHP",         "SyslogIdentifier",
};

bool unit_fit_knows(const char *key)
{
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		if (strcmp(refused[i].key, key) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		if (strcmp(others[i], key) == 0)
			return true;
	}
	return false;
}

/* Where the values of KEY begin that count: an empty one makes those before it void. */
static size_t after_last_empty(const struct unit_settings *settings, const char *key)
{
	size_t first = 0;
	for (size_t i = 0; i < settings->count; i++) {
		if (strcmp(settings->list[i].key, key) == 0 && !*settings->list[i].value)
			first = i + 1;
	}
	return first;
}

/* Call EACH with every word of every value of KEY since it was last emptied; it ends with the first -1. */
static int each_word(const struct unit_settings *settings, const char *key,
                     int (*each)(void *context, const char *word), void *context)
{
	size_t first = after_last_empty(settings, key);
	for (size_t i = first; i < settings->count; i++) {
		const char *at = settings->list[i].value;
		if (strcmp(settings->list[i].key, key) != 0)
			continue;
		while (*(at += strspn(at, BLANKS))) {
			char word[PATH_MAX];
			size_t length = strcspn(at, BLANKS);
			snprintf(word, sizeof word, "%.*s", (int)length, at);
			at += length;
			if (each(context, word) < 0)
				return -1;
		}
	}
	return 0;
}

/* The last value of KEY; "" if there is none. */
static const char *last_value(const struct unit_settings *settings, const char *key)
{
	const char *value = "";
	for (size_t i = 0; i < settings->count; i++) {
		if (strcmp(settings->list[i].key, key) == 0)
			value = settings->list[i].value;
	}
	return value;
}

static bool is_false(const char *value)
{
	static const char *const words[] = {"", "0", "no", "n", "false", "f", "off"};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcasecmp(value, words[i]) == 0)
			return true;
	}
	return false;
}

/* Our loader and C library, by the addresses that the kernel and the loader tell. */
static int on_object(struct dl_phdr_info *info, size_t size, void *context)
{
	struct unit_needs *needs = context;
	const char *slash = strrchr(info->dlpi_name, '/');
	char path[PATH_MAX];
	(void)size;
	if (!slash || !realpath(info->dlpi_name, path))
		return 0;
	if (info->dlpi_addr == getauxval(AT_BASE))
		snprintf(needs->loader, sizeof needs->loader, "%s", path);
	else if (strncmp(slash, "/libc.", 6) == 0)
		snprintf(needs->libc, sizeof needs->libc, "%s", path);
	return 0;
}

/* Whether everybody may execute PATH, whoever the service is. */
static int check_mode(const char *path, struct error *err)
{
	char part[PATH_MAX];
	snprintf(part, sizeof part, "%s", path);
	for (char *slash = part + strlen(part); slash && slash > part; slash = strrchr(part, '/')) {
		struct stat st;
		*slash = '\0';
		if (stat(part, &st) < 0)
			return error_set_errno(err, errno, REASON_UNIT_UNFIT, "%s", part);
		if (!(st.st_mode & S_IXOTH))
			return error_set(err, REASON_UNIT_UNFIT, "not everybody may execute %s: chmod o+x it", part);
	}
	return 0;
}

int unit_needs_find(struct unit_needs *out, struct error *err)
{
	*out = (struct unit_needs){.launcher = HUGEXEC_LIBEXECDIR "/hugexec-launch",
	                           .hugexec = HUGEXEC_BINDIR "/hugexec",
	                           .libexec = HUGEXEC_LIBEXECDIR};
	dl_iterate_phdr(on_object, out);
	return check_mode(out->launcher, err) < 0 || check_mode(out->hugexec, err) < 0 ? -1 : 0;
}

/* Whether FOLDER is PATH or above it; FOLDER may end with slashes. */
static bool covers(const char *folder, const char *path)
{
	size_t length = strlen(folder);
	while (length > 0 && folder[length - 1] == '/')
		length--;
	return strncmp(folder, path, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* What the namespace of the service has at one of our files. */
struct sight {
	const char *path;
	size_t depth; /* length of the deepest place so far that says something about it */
	bool is_hidden;
	const char *key; /* that hides it */
	struct error *err;
	const char *current; /* key of the words that come */
	bool wins;           /* over what is bound below, too */
};

/* A path of a setting without the prefixes that may be before it. */
static const char *bare(const char *word)
{
	return word + strspn(word, "-+");
}

/* %t and the like are folders of data, where hugexec is not; what another specifier is nobody knows. */
static int check_specifier(struct sight *sight, const char *path)
{
	if (path[0] != '%' || (path[1] && strchr("tSCLETVh", path[1])))
		return 0;
	return error_set(sight->err, REASON_UNIT_UNFIT, "%s=%s may be any place", sight->current, path);
}

static int on_hidden(void *context, const char *word)
{
	struct sight *sight = context;
	char place[PATH_MAX];
	snprintf(place, sizeof place, "%s", bare(word));
	place[strcspn(place, ":")] = '\0'; /* options of TemporaryFileSystem= */
	if (check_specifier(sight, place) < 0)
		return -1;
	if (place[0] == '/' && covers(place, sight->path) && (sight->wins || strlen(place) > sight->depth)) {
		sight->depth = strlen(place);
		sight->is_hidden = true;
		sight->key = sight->current;
	}
	return 0;
}

/* SOURCE[:DESTINATION[:OPTIONS]]: our files are seen through it if both are one. */
static int on_bound(void *context, const char *word)
{
	struct sight *sight = context;
	char source[PATH_MAX];
	snprintf(source, sizeof source, "%s", bare(word));
	char *place = strchr(source, ':');
	if (place)
		*place++ = '\0';
	bool is_same = !place || strncmp(place, source, strlen(source)) == 0;
	if (!place || !*place)
		place = source;
	place[strcspn(place, ":")] = '\0';
	if (check_specifier(sight, place) < 0)
		return -1;
	if (place[0] == '/' && covers(place, sight->path) && strlen(place) >= sight->depth) {
		sight->depth = strlen(place);
		sight->is_hidden = !is_same || strcmp(place, source) != 0;
		sight->key = sight->current;
	}
	return 0;
}

/* Whether the service sees PATH as the host does. */
static int check_sight(const struct unit_settings *settings, const char *path, struct error *err)
{
	struct sight sight = {.path = path, .err = err, .current = "RootDirectory"};
	const char *root = last_value(settings, "RootDirectory"), *home = last_value(settings, "ProtectHome");
	static const char *const binding[] = {"BindPaths", "BindReadOnlyPaths"};
	static const char *const hiding[] = {"TemporaryFileSystem", "InaccessiblePaths", "InaccessibleDirectories"};
	sight.is_hidden = *root && strcmp(root, "/") != 0;
	sight.key = sight.current;
	for (size_t i = 0; i < sizeof binding / sizeof binding[0]; i++) {
		sight.current = binding[i];
		if (each_word(settings, binding[i], on_bound, &sight) < 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof hiding / sizeof hiding[0]; i++) {
		sight.wins = i > 0; /* what is bound to a tmpfs, or below, lies on top of it */
		sight.current = hiding[i];
		if (each_word(settings, hiding[i], on_hidden, &sight) < 0)
			return -1;
	}
	sight.current = "ProtectHome";
	if (!is_false(home) && strcasecmp(home, "read-only") != 0 &&
	    (on_hidden(&sight, "/home") < 0 || on_hidden(&sight, "/root") < 0 || on_hidden(&sight, "/run/user") < 0))
		return -1;
	sight.current = "PrivateTmp";
	if (!is_false(last_value(settings, "PrivateTmp")) &&
	    (on_hidden(&sight, "/tmp") < 0 || on_hidden(&sight, "/var/tmp") < 0))
		return -1;
	if (!sight.is_hidden)
		return 0;
	return error_set(err, REASON_UNIT_UNFIT, "%s= hides %s: add BindReadOnlyPaths=%s to the unit", sight.key, path,
	                 path);
}

struct no_exec {
	const struct unit_needs *needs;
	struct error *err;
	bool is_set;
};

static int on_no_exec(void *context, const char *word)
{
	struct no_exec *no_exec = context;
	const char *place = bare(word);
	no_exec->is_set = true;
	/* As deep as what we would have to allow: that is meant. */
	if (place[0] == '%' || covers(no_exec->needs->libexec, place) || strcmp(place, no_exec->needs->hugexec) == 0)
		return error_set(no_exec->err, REASON_UNIT_UNFIT, "NoExecPaths=%s forbids hugexec", place);
	return 0;
}

/* What lies in NoExecPaths= may be executed if it is named: hugexec's own files, and what loads them. */
static int allow_exec(const struct unit_settings *settings, const struct unit_needs *needs, FILE *stream,
                      struct error *err)
{
	struct no_exec no_exec = {.needs = needs, .err = err};
	if (each_word(settings, "NoExecPaths", on_no_exec, &no_exec) < 0)
		return -1;
	if (!no_exec.is_set)
		return 0;
	fprintf(stream, "ExecPaths=-%s -%s", needs->hugexec, needs->libexec);
	if (*needs->loader)
		fprintf(stream, " -%s", needs->loader);
	if (*needs->libc)
		fprintf(stream, " -%s", needs->libc);
	fputc('\n', stream);
	return 0;
}

/* Of system call filters: sets that hugexec can do without, and sets that it cannot. */
static const char *const spared[] = {
    "@clock",   "@cpu-emulation", "@debug",  "@module", "@mount", "@obsolete", "@raw-io",     "@reboot",    "@swap",
    "@keyring", "@chown",         "@setuid", "@aio",    "@pkey",  "@memlock",  "@privileged", "@resources",
};
static const char *const required[] = {
    "@basic-io", "@file-system", "@io-event", "@ipc", "@network-io", "@process", "@signal",
};
enum { REQUIRED = sizeof required / sizeof required[0] };

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(word, list[i]) == 0)
			return true;
	}
	return false;
}

struct filter {
	bool is_set, allows, is_negated, has_required[REQUIRED];
	struct error *err;
};

static int on_call(struct filter *filter, const char *word)
{
	if (!filter->is_negated) {
		for (size_t i = 0; i < REQUIRED; i++)
			filter->has_required[i] |=
			    strcmp(word, required[i]) == 0 || strcmp(word, "@system-service") == 0;
		return 0;
	}
	/* "name:EPERM" ends nobody. */
	if (is_one_of(word, spared, sizeof spared / sizeof spared[0]) || strchr(word, ':'))
		return 0;
	return error_set(filter->err, REASON_UNIT_UNFIT,
	                 "SystemCallFilter=~%s could kill hugexec; with SystemCallErrorNumber=EPERM it would not",
	                 word);
}

static int on_filter_line(struct filter *filter, const char *value)
{
	filter->is_negated = *value == '~';
	if (!filter->is_set)
		filter->allows = !filter->is_negated;
	filter->is_set = true;
	for (value += *value == '~'; *(value += strspn(value, BLANKS)); value += strcspn(value, BLANKS)) {
		char word[128];
		snprintf(word, sizeof word, "%.*s", (int)strcspn(value, BLANKS), value);
		if (on_call(filter, word) < 0)
			return -1;
	}
	return 0;
}

/* A filter that ends who makes a call that it does not know must know those of hugexec. */
static int check_filter(const struct unit_settings *settings, struct error *err)
{
	struct filter filter = {.err = err};
	const char *answer = last_value(settings, "SystemCallErrorNumber");
	if (*answer && strcmp(answer, "kill") != 0)
		return 0;
	size_t first = after_last_empty(settings, "SystemCallFilter");
	for (size_t i = first; i < settings->count; i++) {
		if (strcmp(settings->list[i].key, "SystemCallFilter") == 0 &&
		    on_filter_line(&filter, settings->list[i].value) < 0)
			return -1;
	}
	for (size_t i = 0; filter.allows && i < REQUIRED; i++) {
		if (!filter.has_required[i])
			return error_set(err, REASON_UNIT_UNFIT,
			                 "SystemCallFilter= without %s could kill hugexec; with "
			                 "SystemCallErrorNumber=EPERM it would not",
			                 required[i]);
	}
	return 0;
}

/* A C library of the program's own would be hugexec's as well, and need not fit its loader. */
static int on_variable(void *context, const char *word)
{
	static const char name[] = "LD_LIBRARY_PATH=";
	char folder[PATH_MAX], file[PATH_MAX + 16];
	if (strncmp(word, name, sizeof name - 1) != 0)
		return 0;
	for (word += sizeof name - 1; *word; word += *word == ':') {
		size_t length = strcspn(word, ":");
		snprintf(folder, sizeof folder, "%.*s", (int)length, word);
		snprintf(file, sizeof file, "%s/libc.so.6", folder);
		if (strchr(folder, '%') || access(file, F_OK) == 0)
			return error_set(context, REASON_UNIT_UNFIT, "LD_LIBRARY_PATH= leads to another C library: %s",
			                 folder);
		word += length;
	}
	return 0;
}

int unit_fit(const struct unit_settings *settings, const struct unit_needs *needs, FILE *stream, struct error *err)
{
	const char *const seen[] = {needs->launcher, needs->hugexec, needs->loader, needs->libc};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		if (*last_value(settings, refused[i].key))
			return error_set(err, REASON_UNIT_UNFIT, "it has a %s=: %s", refused[i].key, refused[i].why);
	}
	if (strcmp(last_value(settings, "MemoryTHP"), "disable") == 0)
		return error_set(err, REASON_UNIT_UNFIT, "MemoryTHP=disable: it is to have no huge pages");
	for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) {
		if (*seen[i] && check_sight(settings, seen[i], err) < 0)
			return -1;
	}
	if (check_filter(settings, err) < 0 || each_word(settings, "Environment", on_variable, err) < 0)
		return -1;
	return allow_exec(settings, needs, stream, err);
}
