/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report/counters.h - how often what happened on this host: counters that every launch adds to, and `hugexecctl
 * metrics` reads.
 *
 * They are in one file of a fixed size, METRICS_FILE, mapped shared by whoever adds: a few atomic additions, no lock,
 * nothing that could wait or fail a launch. A launch counts if that file exists and is root's, and the launch may
 * write it: so tmpfiles.d makes it at boot, whoever does not want it removes it, and nothing is ever written into a
 * container's or a sandbox's own /run. All zeros is a valid table, and an empty file is one that has not been begun.
 *
 * A row stands for one kind of outcome (struct metric_key). Rows are taken one after the other, and never given back;
 * when all are taken, the last is for all other kinds, with a key that is all zeros. Counts only grow until the host
 * boots anew.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "report/report.h"

#define METRICS_FILE         "/run/hugexec/metrics"
#define METRICS_ROWS         256
#define METRICS_BUCKETS      12 /* of the histogram; the last is without a limit */
#define METRICS_REASON_BYTES 32

/* Upper limits of all buckets but the last, in microseconds. */
extern const uint64_t metrics_bucket_us[METRICS_BUCKETS - 1];

struct metric_key {
	uint8_t via;                       /* enum via; 0: the row for all that found no other */
	uint8_t outcome;                   /* enum outcome */
	int8_t backing;                    /* enum backing */
	char reason[METRICS_REASON_BYTES]; /* an error's word; "": none */
};

struct metric {
	struct metric_key key;
	uint64_t text_bytes, huge_bytes;
	uint64_t held_us;               /* sum */
	uint64_t held[METRICS_BUCKETS]; /* launches by how long they were held; their sum is the number of launches */
};

/* Add REPORT to the counters of FILE (METRICS_FILE but in tests). Does nothing if there is none, or on any error. */
void metrics_add(const char *file, const struct report *report);

/*
 * Read the counters: at most METRICS_ROWS into OUT. Returns how many; 0 if FILE is empty; -1 with errno if there
 * is none or it is no such file (EBADMSG).
 */
int metrics_read(const char *file, struct metric *out);
