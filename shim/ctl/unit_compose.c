/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit_compose.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "ctl/drop_in.h"
#include "ctl/exec_rewrite.h"
#include "ctl/unit_text.h"

#define SETTINGS_MAX 16384

/* A service as its files have it: the settings that matter, with ExecStart= among them. */
struct service {
	struct unit_settings settings;
	size_t capacity;
};

bool unit_is_of_system(const char *unit)
{
	static const char *const patterns[] = {"systemd-*", "dbus.service",  "dbus-broker.service", "hugexec*",
	                                       "user@*",    "initrd-*",      "emergency.service",   "rescue.service",
	                                       "getty@*",   "serial-getty@*"};
	for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
		if (fnmatch(patterns[i], unit, 0) == 0)
			return true;
	}
	return false;
}

static int keep(void *context, const char *section, const char *key, const char *value, struct error *err)
{
	struct service *service = context;
	struct unit_settings *settings = &service->settings;
	if (strcmp(section, "Service") != 0 || (strcmp(key, "ExecStart") != 0 && !unit_fit_knows(key)))
		return 0;
	if (settings->count == SETTINGS_MAX)
		return error_set(err, REASON_UNIT_UNFIT, "it has too many settings");
	if (settings->count == service->capacity) {
		size_t capacity = service->capacity ? 2 * service->capacity : 32;
		struct unit_setting *larger = realloc(settings->list, capacity * sizeof larger[0]);
		if (!larger)
			return error_set(err, REASON_MEMORY, "for a unit's settings");
		settings->list = larger;
		service->capacity = capacity;
	}
	struct unit_setting *setting = &settings->list[settings->count++];
	setting->key = strdup(key);
	setting->value = strdup(value);
	return setting->key && setting->value ? 0 : error_set(err, REASON_MEMORY, "for a unit's settings");
}

static void service_free(struct service *service)
{
	for (size_t i = 0; i < service->settings.count; i++) {
		free(service->settings.list[i].key);
		free(service->settings.list[i].value);
	}
	free(service->settings.list);
}

static int read_one(struct service *service, const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes;
	struct error why = {0};
	if (strcmp(path, "/dev/null") == 0)
		return 0;
	if (read_file_at(AT_FDCWD, path, MIB, &text, &bytes) < 0)
		return error_set_errno(err, errno, REASON_UNIT_UNFIT, "%s", path);
	if (unit_text_parse(text, bytes, keep, service, &why) < 0)
		return error_set(err, why.code, "%.120s: %s", path, why.detail);
	return 0;
}

/* What the journal calls a unit's output is the name of the program in ExecStart=: keep it, if all have the same. */
static void keep_identifier(const struct service *service, const struct exec_rewrite *rewrite, FILE *stream)
{
	const char *slash = strrchr(rewrite->program, '/'), *name = slash ? slash + 1 : rewrite->program;
	const char *given = "";
	for (size_t i = 0; i < service->settings.count; i++) {
		if (strcmp(service->settings.list[i].key, "SyslogIdentifier") == 0)
			given = service->settings.list[i].value;
	}
	if (!*given && *name && !rewrite->is_mixed)
		fprintf(stream, "SyslogIdentifier=%s\n", name);
}

/* Write [Service] to STREAM. */
static int compose_service(const struct service *service, const struct unit_needs *needs, FILE *stream,
                           struct error *err)
{
	struct exec_rewrite rewrite = {.launcher = needs->launcher, .hugexec = needs->hugexec};
	const struct unit_settings *settings = &service->settings;
	size_t first = 0;
	for (size_t i = 0; i < settings->count; i++) {
		if (strcmp(settings->list[i].key, "ExecStart") == 0 && !*settings->list[i].value)
			first = i + 1;
	}
	fputs("[Service]\nExecStart=\n", stream);
	for (size_t i = first; i < settings->count; i++) {
		if (strcmp(settings->list[i].key, "ExecStart") == 0 &&
		    exec_rewrite(&rewrite, stream, settings->list[i].value, err) < 0)
			return -1;
	}
	if (rewrite.count == 0)
		return error_set(err, REASON_UNIT_UNFIT, "it has no ExecStart=");
	keep_identifier(service, &rewrite, stream);
	return unit_fit(settings, needs, stream, err);
}

static int read_unit(struct service *service, const struct unit_paths *paths, struct error *err)
{
	if (read_one(service, paths->fragment, err) < 0)
		return -1;
	for (size_t i = 0; i < paths->drop_in_count; i++) {
		/* systemd goes by names: behind ours nothing may be. */
		if (strcmp(strrchr(paths->drop_ins[i], '/') + 1, UNIT_DROP_IN_NAME) > 0)
			return error_set(err, REASON_UNIT_UNFIT, "%s would be read after hugexec's drop-in: rename it",
			                 paths->drop_ins[i]);
		if (!drop_in_is_ours(paths->drop_ins[i]) && read_one(service, paths->drop_ins[i], err) < 0)
			return -1;
	}
	return 0;
}

int unit_compose(const struct unit_files *files, const struct unit_needs *needs, const char *unit,
                 struct unit_paths *paths, char **text, struct error *err)
{
	struct service service = {.capacity = 0};
	cleanup_free char *body = NULL;
	size_t bytes = 0;
	if (unit_files_find(files, unit, paths, err) < 0)
		return -1;
	if (unit_is_of_system(paths->name))
		return error_set(err, REASON_UNIT_UNFIT, "%s is a service of the system: it stays as it is",
		                 paths->name);
	FILE *stream = open_memstream(&body, &bytes);
	if (!stream)
		return error_set(err, REASON_MEMORY, "for the drop-in");
	fprintf(stream,
	        "# By hugexec-generator, from %s\n# and its drop-ins, anew at each daemon-reload. "
	        "Undo: hugexecctl disable %s\n",
	        paths->fragment, unit);
	int result = read_unit(&service, paths, err);
	if (result == 0)
		result = compose_service(&service, needs, stream, err);
	service_free(&service);
	if (fclose(stream) != 0 && result == 0)
		result = error_set(err, REASON_MEMORY, "for the drop-in");
	if (result == 0) {
		*text = body;
		body = NULL;
	}
	return result;
}
