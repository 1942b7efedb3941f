/* SPDX-License-Identifier: Apache-2.0 */
#include "report/report.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/datagram.h"
#include "base/say.h"
#include "base/size.h"
#include "base/utf8.h"
#include "host/host.h"
#include "report/json_text.h"

/* A name, sizes, and a reason with the name of a library. */
#define MESSAGE_BYTES (ERROR_TEXT_BYTES + 2 * NAME_MAX + 256)

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* "hugexec looked at a program's text": the same for all outcomes; the catalog explains it. */
#define MESSAGE_ID "5d1cd2d0b6a74ff0b1a0d3f6a7f5c0e9"

static const char *outcome_name(enum outcome outcome)
{
	static const char *const names[] = {"remapped", "skipped", "failed"};
	return names[outcome];
}

static json_object *text_or_empty(const char *text)
{
	json_object *json = json_text(text);
	return json ? json : json_object_new_string("");
}

static json_object *reason_or_null(const struct error *reason)
{
	char text[ERROR_TEXT_BYTES];
	return error_is_set(reason) ? json_text(error_text(reason, text, sizeof text)) : NULL;
}

static json_object *address_or_null(const struct report_object *object, uint64_t tracee_addr)
{
	char text[24];
	if (object->end == 0)
		return NULL;
	snprintf(text, sizeof text, "0x%" PRIx64, tracee_addr);
	return json_object_new_string(text);
}

static json_object *object_to_json(const struct report_object *object)
{
	json_object *json = json_object_new_object();
	if (!json)
		return NULL;
	json_object_object_add(json, "path", text_or_empty(object->path));
	json_object_object_add(json, "build_id", json_text(object->build_id));
	json_object_object_add(json, "start", address_or_null(object, object->start));
	json_object_object_add(json, "end", address_or_null(object, object->end));
	json_object_object_add(json, "text_bytes", json_object_new_int64((int64_t)object->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_int64((int64_t)object->huge_bytes));
	json_object_object_add(json, "copied_bytes", json_object_new_int64((int64_t)object->copied_bytes));
	json_object_object_add(json, "shared_bytes", json_object_new_int64((int64_t)object->shared_bytes));
	json_object_object_add(json, "prepared_bytes", json_object_new_int64((int64_t)object->prepared_bytes));
	json_object_object_add(json, "backing", json_text(backing_name(object->backing)));
	json_object_object_add(json, "reason", reason_or_null(&object->reason));
	return json;
}

/* json-c leaves null what it has no memory for; a report that says less than it should is none. */
static bool is_whole(json_object *json)
{
	static const char *const keys[] = {"version", "pid",        "exe",        "via",        "outcome",
	                                   "rebased", "text_bytes", "huge_bytes", "latency_us", "objects"};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		if (!json_object_object_get(json, keys[i]))
			return false;
	}
	return true;
}

char *report_to_json(const struct report *report)
{
	json_object *json = json_object_new_object();
	json_object *objects = json_object_new_array();
	if (!json || !objects) {
		json_object_put(json);
		json_object_put(objects);
		return NULL;
	}
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "pid", json_object_new_int(report->pid));
	json_object_object_add(json, "exe", text_or_empty(report->exe));
	json_object_object_add(json, "via", json_object_new_string(via_name(report->via)));
	json_object_object_add(json, "rule", json_text(report->rule));
	json_object_object_add(json, "outcome", json_object_new_string(outcome_name(report->outcome)));
	json_object_object_add(json, "reason", reason_or_null(&report->reason));
	json_object_object_add(json, "backing", json_text(backing_name(report->backing)));
	json_object_object_add(json, "rebased", json_object_new_boolean(report->rebased));
	json_object_object_add(json, "text_bytes", json_object_new_int64((int64_t)report->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_int64((int64_t)report->huge_bytes));
	json_object_object_add(json, "copied_bytes", json_object_new_int64((int64_t)report->copied_bytes));
	json_object_object_add(json, "prepared_bytes", json_object_new_int64((int64_t)report->prepared_bytes));
	json_object_object_add(json, "observed_bytes", json_object_new_int64((int64_t)report->observed_bytes));
	json_object_object_add(json, "latency_us", json_object_new_int64((int64_t)report->latency_us));
	for (unsigned i = 0; i < report->object_count; i++)
		json_object_array_add(objects, object_to_json(&report->objects[i]));
	json_object_object_add(json, "objects", objects);
	const char *text =
	    is_whole(json)
	        ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
	        : NULL;
	char *copy = text ? strdup(text) : NULL;
	json_object_put(json);
	return copy;
}

int report_append(int fd, const struct report *report, int timeout_ms)
{
	char *json = report_to_json(report);
	if (!json) {
		errno = ENOMEM;
		return -1;
	}
	/* The newline takes the place of the string's end, so that the line goes out in one write. */
	size_t bytes = strlen(json);
	json[bytes] = '\n';
	int result = say(fd, json, bytes + 1, timeout_ms);
	int saved_errno = errno;
	free(json);
	errno = saved_errno;
	return result;
}

/* What of a program's text was put on huge pages only in part, or of its libraries not at all: " (...)", or "". */
static void rest_message(const struct report *report, char *rest, size_t rest_bytes)
{
	char reason[ERROR_TEXT_BYTES];
	unsigned more = 0;
	rest[0] = '\0';
	if (error_is_set(&report->reason)) {
		snprintf(rest, rest_bytes, "; %s", error_text(&report->reason, reason, sizeof reason));
		return;
	}
	for (unsigned i = 1; i < report->object_count; i++) {
		const struct report_object *object = &report->objects[i];
		if (!error_is_set(&object->reason) || object->huge_bytes > 0 || object->prepared_bytes > 0)
			continue;
		if (!rest[0])
			snprintf(rest, rest_bytes, "; not %s: %s", basename(object->path),
			         error_text(&object->reason, reason, sizeof reason));
		else
			more++;
	}
	size_t used = strlen(rest);
	if (more)
		snprintf(rest + used, rest_bytes - used, "; nor %u others of its libraries", more);
}

/* Which backing, and what a copy of the ends costs beside the file's own pages. */
static void backing_message(const struct report *report, char *how, size_t how_bytes)
{
	char copied[16];
	if (report->backing == BACKING_FILE && report->copied_bytes > 0)
		snprintf(how, how_bytes, "file, %s of it copied",
		         size_format(report->copied_bytes, copied, sizeof copied));
	else
		snprintf(how, how_bytes, "%s", backing_name(report->backing));
}

static void report_message(const struct report *report, char *message, size_t message_bytes)
{
	/* What lies beside the text in a huge page is no text. */
	uint64_t huge_bytes = report->huge_bytes < report->text_bytes ? report->huge_bytes : report->text_bytes;
	char how[64], huge[16], text[16], rest[ERROR_TEXT_BYTES + NAME_MAX + 64], reason[ERROR_TEXT_BYTES];
	const char *name = basename(report->exe);
	error_text(&report->reason, reason, sizeof reason);
	switch (report->outcome) {
	case OUTCOME_REMAPPED:
		rest_message(report, rest, sizeof rest);
		backing_message(report, how, sizeof how);
		snprintf(message, message_bytes, "%s: %s of %s of text on huge pages (%s), held for %.1f ms%s", name,
		         size_format(huge_bytes, huge, sizeof huge), size_format(report->text_bytes, text, sizeof text),
		         how, (double)report->latency_us / 1000.0, rest);
		break;
	case OUTCOME_SKIPPED:
		/* Its libraries are the gain: nothing has failed. */
		if (report->reason.code == REASON_LIBRARIES_PREPARED)
			snprintf(message, message_bytes, "%s: %s", name, report->reason.detail);
		else
			snprintf(message, message_bytes, "%s: left alone: %s", name, reason);
		break;
	case OUTCOME_FAILED: snprintf(message, message_bytes, "%s: text stays on small pages: %s", name, reason); break;
	}
}

int report_to_human(int fd, const struct report *report, int timeout_ms)
{
	char message[MESSAGE_BYTES], shown[MESSAGE_BYTES], line[sizeof shown + 80];
	report_message(report, message, sizeof message);
	bool is_small = report->outcome == OUTCOME_SKIPPED && report->reason.code == REASON_TEXT_SMALL;
	int bytes = snprintf(line, sizeof line, "hugexec: %s%s\n", text_printable(message, shown, sizeof shown),
	                     is_small ? "; \"hugexecctl explain\" shows its libraries" : "");
	return say(fd, line, (size_t)bytes, timeout_ms);
}

#define CONTAINER_NAME_MAX  255 /* of a container, its pod, its image: bytes */
#define JOURNAL_PATIENCE_MS 50  /* for a journal that is busy; one that is stopped loses the entry */

/*
 * An entry in the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a field a line, NAME=VALUE; or if
 * the value has more than one line, the name, and the value behind its length. Spoken here, because libsystemd brings a
 * dozen libraries, all to be found where LD_LIBRARY_PATH says, and waits for a journal that takes nothing.
 */
struct journal_entry {
	char text[8192]; /* every field at its longest, together less than this */
	size_t bytes;
};

__attribute__((format(printf, 3, 4))) static void add_field(struct journal_entry *entry, const char *name,
                                                            const char *format, ...)
{
	char value[PATH_MAX];
	va_list args;
	va_start(args, format);
	vsnprintf(value, sizeof value, format, args);
	va_end(args);
	size_t length = strlen(value);
	unsigned char length_le[8]; /* the least significant byte first */
	for (unsigned i = 0; i < sizeof length_le; i++)
		length_le[i] = (unsigned char)((uint64_t)length >> 8 * i);
	if (strlen(name) + length + sizeof length_le + 2 > sizeof entry->text - entry->bytes)
		return;
	char *at = stpcpy(entry->text + entry->bytes, name);
	bool is_one_line = !strchr(value, '\n');
	*at++ = is_one_line ? '=' : '\n';
	if (!is_one_line)
		at = mempcpy(at, length_le, sizeof length_le);
	at = mempcpy(at, value, length);
	*at++ = '\n';
	entry->bytes = (size_t)(at - entry->text);
}

static int priority_of(const struct report *report)
{
	if (report->reason.code == REASON_RULE_UNKNOWN)
		return LOG_WARNING;
	if (report_blames_policy(report))
		return LOG_ERR; /* no program comes on huge pages any more */
	return report->outcome == OUTCOME_FAILED ? LOG_WARNING : LOG_INFO;
}

/* Names may be any text, and are cut to what Kubernetes allows. */
static void add_container(struct journal_entry *entry, const struct container_attrs *attrs)
{
	const struct {
		const char *field, *name;
	} names[] = {{"HUGEXEC_NAMESPACE", attrs->pod_namespace},
	             {"HUGEXEC_POD", attrs->pod},
	             {"HUGEXEC_CONTAINER", attrs->container},
	             {"HUGEXEC_IMAGE", attrs->image}};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (names[i].name)
			add_field(entry, names[i].field, "%.*s", CONTAINER_NAME_MAX, names[i].name);
	}
}

/* UNIT: the workload's, or NULL. UNWRITTEN: what could not be told elsewhere, or NULL. */
static void fill_entry(struct journal_entry *entry, const struct report *report, const char *unit,
                       const char *unwritten)
{
	char message[MESSAGE_BYTES], reason[ERROR_TEXT_BYTES];
	report_message(report, message, sizeof message);
	add_field(entry, "MESSAGE", "%s", message);
	add_field(entry, "MESSAGE_ID", MESSAGE_ID);
	add_field(entry, "PRIORITY", "%d", priority_of(report));
	add_field(entry, "SYSLOG_IDENTIFIER", "hugexec");
	add_field(entry, "HUGEXEC_PID", "%d", (int)report->pid);
	/* The tracer is not the workload: with this the journal files the entry under the workload's unit too. */
	if (report->pid != getpid())
		add_field(entry, "OBJECT_PID", "%d", (int)report->pid);
	/* Whoever sends this may have ended before the journal looks up what unit it was in. */
	if (unit)
		add_field(entry, "HUGEXEC_UNIT", "%s", unit);
	add_field(entry, "HUGEXEC_EXE", "%s", report->exe);
	add_field(entry, "HUGEXEC_VIA", "%s", via_name(report->via));
	add_field(entry, "HUGEXEC_OUTCOME", "%s", outcome_name(report->outcome));
	add_field(entry, "HUGEXEC_TEXT_BYTES", "%" PRIu64, report->text_bytes);
	add_field(entry, "HUGEXEC_HUGE_BYTES", "%" PRIu64, report->huge_bytes);
	if (report->observed_bytes)
		add_field(entry, "HUGEXEC_OBSERVED_BYTES", "%" PRIu64, report->observed_bytes);
	add_field(entry, "HUGEXEC_LATENCY_US", "%" PRIu64, report->latency_us);
	if (report->rule[0])
		add_field(entry, "HUGEXEC_RULE", "%s", report->rule);
	if (report->backing != BACKING_NONE)
		add_field(entry, "HUGEXEC_BACKING", "%s", backing_name(report->backing));
	if (error_is_set(&report->reason))
		add_field(entry, "HUGEXEC_REASON", "%s", error_text(&report->reason, reason, sizeof reason));
	if (unwritten)
		add_field(entry, "HUGEXEC_UNWRITTEN", "%s", unwritten);
	if (report->container)
		add_container(entry, report->container);
}

void report_to_journal(const struct report *report, const char *unwritten)
{
	struct journal_entry entry = {.bytes = 0};
	cleanup_close int fd = datagram_open(JOURNAL_SOCKET);
	if (fd < 0)
		return;
	cleanup_free char *unit = host_unit_of(report->pid);
	fill_entry(&entry, report, unit, unwritten);
	datagram_send(fd, entry.text, entry.bytes, JOURNAL_PATIENCE_MS);
}

bool report_blames_policy(const struct report *report)
{
	return reason_class(report->reason.code) == REASON_CLASS_POLICY;
}

struct report_object *report_add_object(struct report *report)
{
	struct report_object *larger = NULL;
	if (report->object_count < REPORT_OBJECTS_MAX)
		larger = realloc(report->objects, (report->object_count + 1) * sizeof larger[0]);
	if (!larger)
		return NULL;
	report->objects = larger;
	return &report->objects[report->object_count++];
}

void report_free(struct report *report)
{
	free(report->objects);
	report->objects = NULL;
	report->object_count = 0;
}
