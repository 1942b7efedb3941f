/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/explain_libraries.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "ctl/ctl.h"
#include "host/pages.h"
#include "remap/elf_object.h"
#include "remap/libraries.h"
#include "remap/plan_estimate.h"
#include "remap/shared_store.h"
#include "sandbox/elf/library_search_client.h"

#define VALUE_BYTES (PATH_MAX + 1024)

struct collecting {
	const struct settings *settings;
	struct explained_libraries *out;
};

/* Whether all processes share a copy of the file open at FD; or ERR says why it is of no use, if there is one. */
static bool has_shared_copy(int fd, struct error *err)
{
	struct shared_key key;
	struct shared_copy copy;
	if (shared_key_of(fd, &key) < 0 || shared_store_find(&key, &copy, err) < 0)
		return false;
	close(copy.fd);
	return true;
}

/* As it will be when the program has been stopped for it, at its entry point or when it has loaded it. */
static void forecast_full(const struct settings *settings, const struct found_library *library, int fd,
                          struct explained_library *out)
{
	struct file_forecast forecast;
	struct error unused = {0};
	bool has_shared = has_shared_copy(fd, &unused);
	forecast_in_place(library->info, true, has_shared, settings, host_pages(), &forecast);
	if (forecast.text_bytes <= out->huge_bytes)
		return;
	out->huge_bytes = forecast.text_bytes < out->text_bytes ? forecast.text_bytes : out->text_bytes;
	out->copied_bytes = forecast.copied_bytes;
	out->needs_stop = !library->is_later;
	out->is_awaited = library->is_later;
	out->shared_bytes = forecast.shared_bytes;
	out->reason = error_is_set(&forecast.reason) && error_is_set(&unused) ? unused : forecast.reason;
}

static void judge(const struct settings *settings, const struct found_library *library, int fd,
                  struct explained_library *out)
{
	struct text_slots slots;
	library_judge(settings, library, &slots);
	bool wanted = library_has_work(settings, &slots), is_file_first = settings->backing[0] == BACKING_FILE;
	out->text_bytes = slots.text_bytes;
	out->huge_bytes = slots.slot_bytes;
	out->reason = slots.reason;
	bool is_placed = !wanted || out->huge_bytes == 0 || library_is_placed(fd, library->info);
	if (!is_placed) {
		out->huge_bytes = 0;
		error_set(&out->reason, REASON_FILE_MISALIGNED, "the kernel maps it at any address");
	}
	if (wanted && !is_file_first && !library->is_later)
		out->huge_bytes = 0; /* a copy comes first */
	out->needs_stop = wanted && !library->is_later && out->huge_bytes == 0;
	bool is_known = !library->is_later || out->huge_bytes > 0;
	if (wanted && is_file_first && is_known && settings->coverage == COVERAGE_FULL && is_placed)
		forecast_full(settings, library, fd, out);
}

static void collect(void *context, const struct found_library *library, int fd)
{
	struct collecting *collecting = context;
	struct explained_libraries *out = collecting->out;
	struct explained_library explained = {.path = strdup(library->path), .is_later = library->is_later};
	judge(collecting->settings, library, fd, &explained);
	if (explained.path && out->list && out->count < SEARCH_OBJECTS_MAX)
		out->list[out->count++] = explained;
	else
		free(explained.path);
	close(fd);
}

void explain_libraries(const char *exe, const struct settings *settings, struct explained_libraries *out)
{
	struct collecting collecting = {settings, out};
	out->list = calloc(SEARCH_OBJECTS_MAX, sizeof out->list[0]);
	out->wanted = settings->libraries;
	out->min_text_bytes = settings->min_text_bytes;
	libraries_find(exe, settings, true, collect, &collecting, &out->unknown);
	if (!out->wanted)
		out->unknown = (struct error){0};
}

enum libraries_hope explained_libraries_hope(const struct explained_libraries *libraries)
{
	enum libraries_hope hope = error_is_set(&libraries->unknown) ? HOPE_LIBRARIES : HOPE_NONE;
	for (unsigned i = 0; i < libraries->count; i++) {
		const struct explained_library *library = &libraries->list[i];
		if (!library->is_later && (library->needs_stop || library->huge_bytes > 0))
			return HOPE_LIBRARIES;
		if (library->is_later && library->huge_bytes > 0 && hope == HOPE_NONE)
			hope = HOPE_LATER;
	}
	return hope;
}

static void print_library(const struct explained_library *library)
{
	char value[VALUE_BYTES], text[16], huge[16], copied[16], why[ERROR_TEXT_BYTES] = "";
	if (error_is_set(&library->reason))
		error_text(&library->reason, why, sizeof why);
	size_format(library->text_bytes, text, sizeof text);
	/* What lies beside the text in a huge page is no text. */
	size_format(library->huge_bytes < library->text_bytes ? library->huge_bytes : library->text_bytes, huge,
	            sizeof huge);
	if ((library->needs_stop || library->is_awaited) && library->huge_bytes > 0)
		snprintf(value, sizeof value,
		         "%s: %s of %s of text on huge pages when the program has loaded it, %s%s%s%s", library->path,
		         huge, text,
		         library->copied_bytes ? size_format(library->copied_bytes, copied, sizeof copied) : "in place",
		         library->copied_bytes ? " copied in each process" : "", why[0] ? "; " : "", why);
	else if (library->needs_stop)
		snprintf(value, sizeof value, "%s: %s of text, put on huge pages when the program has loaded it%s%s",
		         library->path, text, why[0] ? ": " : "", why);
	else if (library->huge_bytes > 0)
		snprintf(value, sizeof value, "%s: %s of %s of text on huge pages, once the page cache is prepared",
		         library->path, huge, text);
	else
		snprintf(value, sizeof value, "%s: %s", library->path, why);
	ctl_print_line(library->is_later ? "later" : "library", value);
}

/* Those that have text enough, and that the rule does not want. */
static void print_left_alone(const struct explained_libraries *libraries)
{
	char value[VALUE_BYTES], text[16];
	unsigned count = 0;
	uint64_t text_bytes = 0;
	for (unsigned i = 0; i < libraries->count; i++) {
		const struct explained_library *library = &libraries->list[i];
		bool is_large = library->text_bytes >= libraries->min_text_bytes && library->text_bytes > 0;
		if (library->reason.code != REASON_RULE_SKIP || !is_large)
			continue;
		count++;
		text_bytes += library->text_bytes;
	}
	snprintf(value, sizeof value, "%u with %s of text, which the rule leaves alone%s", count,
	         size_format(text_bytes, text, sizeof text),
	         libraries->wanted ? "" : "; \"libraries\": true would have them on huge pages");
	if (count == 0)
		snprintf(value, sizeof value, "none with %s of text or more",
		         size_format(libraries->min_text_bytes, text, sizeof text));
	if (count > 0 || (!libraries->wanted && libraries->count > 0))
		ctl_print_line("libraries", value);
}

void explained_libraries_print(const struct explained_libraries *libraries)
{
	char value[VALUE_BYTES], size[16];
	unsigned small = 0;
	for (unsigned i = 0; libraries->wanted && i < libraries->count; i++) {
		const struct explained_library *library = &libraries->list[i];
		if (library->huge_bytes > 0 || library->needs_stop)
			print_library(library);
		else if (is_nothing_to_do(&library->reason) && library->text_bytes < libraries->min_text_bytes)
			small++;
		else if (library->reason.code != REASON_RULE_SKIP)
			print_library(library);
	}
	print_left_alone(libraries);
	snprintf(value, sizeof value, "%u with less than %s of text each", small,
	         size_format(libraries->min_text_bytes, size, sizeof size));
	if (small > 0)
		ctl_print_line("libraries", value);
	if (error_is_set(&libraries->unknown))
		ctl_print_line("libraries", error_text(&libraries->unknown, value, sizeof value));
}

static json_object *to_json(const struct explained_library *library)
{
	char why[ERROR_TEXT_BYTES];
	json_object *json = json_object_new_object();
	json_object_object_add(json, "path", ctl_text(library->path));
	json_object_object_add(json, "loaded", ctl_text(library->is_later ? "later" : "start"));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(library->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(library->huge_bytes));
	json_object_object_add(json, "copied_bytes", json_object_new_uint64(library->copied_bytes));
	json_object_object_add(json, "shared_bytes", json_object_new_uint64(library->shared_bytes));
	json_object_object_add(json, "needs_stop", json_object_new_boolean(library->needs_stop));
	json_object_object_add(json, "reason",
	                       error_is_set(&library->reason) ? ctl_text(error_text(&library->reason, why, sizeof why))
	                                                      : NULL);
	return json;
}

json_object *explained_libraries_to_json(const struct explained_libraries *libraries)
{
	json_object *list = json_object_new_array();
	for (unsigned i = 0; i < libraries->count; i++)
		json_object_array_add(list, to_json(&libraries->list[i]));
	return list;
}

void explained_libraries_free(struct explained_libraries *libraries)
{
	for (unsigned i = 0; i < libraries->count; i++)
		free(libraries->list[i].path);
	free(libraries->list);
}
