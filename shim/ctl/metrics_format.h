/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_format.h - samples to standard output, in the text form of OpenMetrics 1.0 or in the older one of Prometheus,
 * which is all that the node exporter's files may have.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct metrics_format {
	bool is_openmetrics;
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_INFO };

/* The lines before the samples of NAME; UNIT: NULL for none. */
void metric_family(const struct metrics_format *format, const char *name, enum metric_type type, const char *unit,
                   const char *help);

/* One label: SEPARATOR is "{" for the first, else ",". VALUE may be any bytes; who prints the last closes the brace. */
void metric_label(const char *name, const char *value, const char *separator);

/* A family of one sample without labels. */
void metric_gauge(const struct metrics_format *format, const char *name, const char *help, uint64_t value);

void metrics_end(const struct metrics_format *format);
