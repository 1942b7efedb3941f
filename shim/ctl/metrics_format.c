/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/metrics_format.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/utf8.h"

#define LABEL_BYTES 512

void metric_family(const struct metrics_format *format, const char *name, enum metric_type type, const char *unit,
                   const char *help)
{
	static const char *const words[] = {"counter", "gauge", "histogram", "info"};
	static const char *const older_words[] = {"counter", "gauge", "histogram", "gauge"};
	static const char *const suffixes[] = {"_total", "", "", "_info"};
	const char *suffix = format->is_openmetrics ? "" : suffixes[type];
	printf("# TYPE %s%s %s\n", name, suffix, format->is_openmetrics ? words[type] : older_words[type]);
	if (unit && format->is_openmetrics)
		printf("# UNIT %s %s\n", name, unit);
	printf("# HELP %s%s %s\n", name, suffix, help);
}

/* Without what could move a terminal's cursor, too. */
void metric_label(const char *name, const char *value, const char *separator)
{
	char shown[LABEL_BYTES];
	text_printable(value, shown, sizeof shown);
	printf("%s%s=\"", separator, name);
	for (const char *p = shown; *p; p++) {
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	putchar('"');
}

void metric_gauge(const struct metrics_format *format, const char *name, const char *help, uint64_t value)
{
	metric_family(format, name, METRIC_GAUGE, NULL, help);
	printf("%s %" PRIu64 "\n", name, value);
}

void metrics_end(const struct metrics_format *format)
{
	if (format->is_openmetrics)
		puts("# EOF");
}
