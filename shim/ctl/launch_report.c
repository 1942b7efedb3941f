/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/launch_report.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"

#define REPORTS_LIMIT_BYTES (256 * MIB)

static void copy_text(json_object *report, const char *key, char *buf, size_t buf_bytes)
{
	json_object *value = NULL;
	bool is_there = json_object_object_get_ex(report, key, &value) && value;
	snprintf(buf, buf_bytes, "%s", is_there ? json_object_get_string(value) : "");
}

static uint64_t number(json_object *report, const char *key)
{
	json_object *value = NULL;
	return json_object_object_get_ex(report, key, &value) ? json_object_get_uint64(value) : 0;
}

/* The place of the program that REPORT is about, a new one if it has none; NULL if there is no room. */
static struct reported *place(struct comparison *out, const char *exe)
{
	for (size_t i = 0; i < out->reported_count; i++) {
		if (strcmp(out->reported[i].exe, exe) == 0)
			return &out->reported[i];
	}
	return out->reported_count < TEXT_LINES_MAX ? &out->reported[out->reported_count++] : NULL;
}

static void take(json_object *report, struct comparison *out)
{
	char exe[COMPARE_NAME_BYTES];
	copy_text(report, "exe", exe, sizeof exe);
	struct reported *reported = place(out, exe);
	if (!reported)
		return;
	*reported = (struct reported){
	    .text_bytes = number(report, "text_bytes"),
	    .huge_bytes = number(report, "huge_bytes"),
	    .prepared_bytes = number(report, "prepared_bytes"),
	    .held_us = (double)number(report, "latency_us"),
	};
	memcpy(reported->exe, exe, sizeof exe);
	copy_text(report, "outcome", reported->outcome, sizeof reported->outcome);
	copy_text(report, "backing", reported->backing, sizeof reported->backing);
	copy_text(report, "reason", reported->reason, sizeof reported->reason);
}

void launch_report_read(const char *path, struct comparison *out)
{
	cleanup_free char *text = NULL;
	if (read_file_at(AT_FDCWD, path, REPORTS_LIMIT_BYTES, &text, NULL) < 0)
		return;
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL && rest;) {
		json_object *report = json_tokener_parse(line);
		if (json_object_is_type(report, json_type_object))
			take(report, out);
		json_object_put(report);
	}
}
