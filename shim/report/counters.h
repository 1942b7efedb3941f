/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report/counters.h - how often what happened on this host: counters that every launch adds to, and `hugexecctl
 * metrics` reads.
 *
 * They are in one file of a fixed size, METRICS_FILE, mapped shared by whoever adds: a few atomic additions, no lock,
 * nothing that could wait or fail a launch. A launch counts if that file exists and is root's, and the launch may
 * write it, or else hugexec-counter does for it (count_message.h): so tmpfiles.d makes the file at boot, whoever does
 * not want it removes it, and nothing is ever written into a container's or a sandbox's own /run. All zeros is a valid
 * table, and an empty file is one that has not been begun.
 *
 * A row stands for one kind of outcome (struct metric_key). Rows are taken one after the other, and never given back;
 * when all are taken, the last is for all other kinds, with a key that is all zeros. Counts only grow until the host
 * boots anew. Of units, rules and namespaces only so many have a label of their own; the others are METRICS_OTHER
 * together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "report/report.h"

#define METRICS_FILE          "/run/hugexec/metrics"
#define METRICS_ROWS          512
#define METRICS_BUCKETS       12 /* of the histogram; the last is without a limit */
#define METRICS_REASON_BYTES  32
#define METRICS_UNIT_BYTES    64
#define METRICS_RULE_BYTES    48
#define METRICS_SPACE_BYTES   64 /* Kubernetes allows 63 characters */
/* Units, and rules, and namespaces, of root; as many of users; at one moment a few more. */
#define METRICS_LABELS_MAX    64
#define METRICS_OTHER         "other"
#define METRICS_NONE          "none" /* how "" is shown */
/* Rows that users other than root may take: each of them, and all together. */
#define METRICS_ROWS_OF_USER  32
#define METRICS_ROWS_OF_USERS (METRICS_ROWS * 3 / 4)

/* Upper limits of all buckets but the last, in microseconds. */
extern const uint64_t metrics_bucket_us[METRICS_BUCKETS - 1];

struct metric_key {
	uint8_t via;                       /* enum via; 0: the row for all that found no other */
	uint8_t outcome;                   /* enum outcome */
	int8_t backing;                    /* enum backing */
	char reason[METRICS_REASON_BYTES]; /* an error's word; "": none */
	char unit[METRICS_UNIT_BYTES];     /* metrics_set_unit(); "": none */
	char rule[METRICS_RULE_BYTES];     /* its name, cut; "": none */
	char space[METRICS_SPACE_BYTES];   /* the pod's namespace, cut; "": none */
};

/* What one launch adds; no byte of it is left to chance. */
struct count {
	struct metric_key key;
	uint64_t text_bytes, huge_bytes, observed_bytes;
	uint64_t held_us;
};

struct metric {
	struct metric_key key;
	uint64_t text_bytes, huge_bytes, observed_bytes;
	uint64_t held_us;               /* sum */
	uint64_t held[METRICS_BUCKETS]; /* launches by how long they were held; their sum is the number of launches */
};

/* The count of REPORT, but for its unit. */
void metrics_count_of(const struct report *report, struct count *out);

/*
 * The label for the systemd unit NAME (NULL: none): services have one. Those that are made anew for each job or each
 * user share one; scopes have none.
 */
void metrics_set_unit(struct metric_key *key, const char *name);

/* The label for the pods' namespace NAME (NULL: none), as it is shown. */
void metrics_set_space(struct metric_key *key, const char *name);

/*
 * Give an empty FILE its size. A launch does that too, unless a filter or a limit may punish it for the attempt; so
 * hugexec-counter, which has a filter of its own that allows it, does not wait for one.
 */
void metrics_begin(const char *file);

/*
 * Add REPORT to the counters of FILE (METRICS_FILE but in tests). Returns whether it was counted: not if there is no
 * such file, and on any error.
 */
bool metrics_add(const char *file, const struct report *report);

/* The same of COUNT, for user UID. */
bool metrics_add_count(const char *file, const struct count *count, uid_t uid);

/* Whether KEY can be printed: its numbers name something, and its texts have an end. */
bool metrics_is_sound(const struct metric_key *key);

/*
 * Read the counters: at most METRICS_ROWS into OUT. Returns how many; 0 if FILE is empty; -1 with errno if there
 * is none or it is no such file (EBADMSG).
 */
int metrics_read(const char *file, struct metric *out);
