/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report/report.h - what was done, told three ways: a JSON line, journal fields, one line for people.
 *
 * The engine fills a struct report; nothing here looks at a process.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"

enum outcome { OUTCOME_REMAPPED, OUTCOME_SKIPPED, OUTCOME_FAILED };

#define REPORT_OBJECTS_MAX 64
#define BUILD_ID_HEX_MAX   129

/* One executable mapping of one ELF object. Addresses are the workload's. */
struct report_object {
	char path[PATH_MAX];
	char build_id[BUILD_ID_HEX_MAX]; /* empty: none, or not read */
	uint64_t start, end;
	uint64_t text_bytes;
	uint64_t huge_bytes;   /* what smaps says after the switch; with what lies beside the text in its slots */
	uint64_t copied_bytes; /* of it a private copy, and so this process's own memory */
	uint64_t shared_bytes; /* of it mapped from the copy that all processes share (remap/shared_store.h) */
	/*
	 * A library that is not mapped yet (start and end are 0): so much of its text is in the page cache in huge
	 * pages, which the kernel maps when they are used.
	 */
	uint64_t prepared_bytes;
	enum backing backing; /* BACKING_NONE: left as it was */
	struct error reason;  /* why (part of) it is not on huge pages; unset: nothing to say */
};

struct report {
	pid_t pid;
	char exe[PATH_MAX];
	enum via via;
	const struct container_attrs *container; /* borrowed; NULL: it is in none that we know of */
	char rule[128];                          /* its name, or "rule N of FILE"; empty: none matched */
	enum outcome outcome;
	struct error reason; /* unset: null */
	enum backing backing;
	bool rebased;
	uint64_t text_bytes, huge_bytes, copied_bytes, prepared_bytes;
	uint64_t observed_bytes; /* what would be huge if the rule did not only observe */
	uint64_t latency_us;     /* how long the workload was held */
	struct report_object *objects;
	unsigned object_count;
};

/* The report as one JSON object without newline, in a fresh string (free() it); NULL when out of memory. */
char *report_to_json(const struct report *report);

/*
 * Append the report and a newline to FD with one write, so that concurrent lines do not mix. Returns 0, or -1 with
 * errno set: as say(), which waits TIMEOUT_MS at most, or ENOMEM.
 */
int report_append(int fd, const struct report *report, int timeout_ms);

/*
 * Log the report to the journal if there is one, with UNWRITTEN, a list of the places that have not taken it (NULL:
 * none). Waits a moment for a journal that is busy. Failures are ignored: the workload comes first.
 */
void report_to_journal(const struct report *report, const char *unwritten);

/*
 * "hugexec: prometheus: 21.0 of 21.1 MiB of text on huge pages (hugetlb), held for 12.3 ms" with a newline, to FD.
 * Returns as say().
 */
int report_to_human(int fd, const struct report *report, int timeout_ms);

/* Whether it is the policy that cannot be used, as a whole or one of its rules. */
bool report_blames_policy(const struct report *report);

/* A fresh object at the end of the report's list; NULL if there is no room. */
struct report_object *report_add_object(struct report *report);

void report_free(struct report *report); /* the objects; the struct itself is the caller's */
