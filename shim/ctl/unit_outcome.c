/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/unit_outcome.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "ctl/last_report.h"
#include "ctl/text_objects.h"

#define SMAPS_LIMIT_BYTES (256 * MIB)

void unit_outcome_read(const char *unit, pid_t pid, struct unit_outcome *out)
{
	char path[64], report[sizeof out->report];
	cleanup_free char *smaps = NULL;
	struct text_objects objects;
	*out = (struct unit_outcome){.text_bytes = 0};
	const char *last = last_report_of(unit, report, sizeof report);
	if (last)
		text_printable(last, out->report, sizeof out->report);
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	if (pid == 0 || read_file_at(AT_FDCWD, path, SMAPS_LIMIT_BYTES, &smaps, NULL) < 0 ||
	    text_objects_read(smaps, &objects) < 0)
		return;
	for (size_t i = 0; i < objects.count; i++) {
		out->text_bytes += objects.list[i].text_bytes;
		out->huge_bytes += objects.list[i].huge_bytes;
	}
	text_objects_free(&objects);
}

const char *unit_outcome_text(const struct unit_outcome *outcome, char *buf, size_t buf_bytes)
{
	char text[32], huge[32];
	/* What lies beside the text in a huge page is no text. */
	uint64_t huge_bytes = outcome->huge_bytes < outcome->text_bytes ? outcome->huge_bytes : outcome->text_bytes;
	size_format(outcome->text_bytes, text, sizeof text);
	size_format(huge_bytes, huge, sizeof huge);
	if (huge_bytes > 0)
		snprintf(buf, buf_bytes, "%s of %s of text on huge pages (%u %%)", huge, text,
		         (unsigned)(100 * huge_bytes / outcome->text_bytes));
	else
		snprintf(buf, buf_bytes, "nothing on huge pages; last report: %s",
		         *outcome->report ? outcome->report : "none");
	return buf;
}

void unit_outcome_to_json(const struct unit_outcome *outcome, json_object *json)
{
	json_object_object_add(json, "text_bytes", json_object_new_uint64(outcome->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(outcome->huge_bytes));
	json_object_object_add(json, "last_report", ctl_text(outcome->report));
}
