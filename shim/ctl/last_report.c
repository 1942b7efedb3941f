/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/last_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-journal.h>
#include <time.h>

#define FIELD_BYTES 512

static int add_match(sd_journal *journal, const char *name, const char *value)
{
	char match[FIELD_BYTES];
	snprintf(match, sizeof match, "%s=%s", name, value);
	return sd_journal_add_match(journal, match, 0);
}

/* The newest entry that matches, as "2026-11-27 07:00:00: its message". */
static const char *read_newest(sd_journal *journal, char *buf, size_t buf_bytes)
{
	static const char key[] = "MESSAGE=";
	const void *field;
	size_t bytes;
	uint64_t time_us = 0;
	char when[32] = "";
	struct tm parts;
	if (sd_journal_seek_tail(journal) < 0 || sd_journal_previous(journal) <= 0 ||
	    sd_journal_get_data(journal, "MESSAGE", &field, &bytes) < 0 || bytes <= sizeof key - 1)
		return NULL;
	sd_journal_get_realtime_usec(journal, &time_us);
	time_t seconds = (time_t)(time_us / 1000000);
	if (localtime_r(&seconds, &parts))
		strftime(when, sizeof when, "%F %T: ", &parts);
	snprintf(buf, buf_bytes, "%s%.*s", when, (int)(bytes - (sizeof key - 1)), (const char *)field + sizeof key - 1);
	return buf;
}

const char *last_report_of(const char *unit, char *buf, size_t buf_bytes)
{
	sd_journal *journal = NULL;
	const char *found = NULL;
	if (sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY) < 0)
		return NULL;
	if (add_match(journal, "SYSLOG_IDENTIFIER", "hugexec") >= 0 && add_match(journal, "HUGEXEC_UNIT", unit) >= 0)
		found = read_newest(journal, buf, buf_bytes);
	sd_journal_close(journal);
	return found;
}
