/* SPDX-License-Identifier: Apache-2.0 */
/*
 * advice.h - should this program be run under hugexec? Judged from what was measured of it. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/tlb.h"
#include "ctl/touched.h"
#include "host/huge_tlb.h"
#include "host/perf.h"

struct advice_input {
	struct tlb_sizes tlb;
	enum tlb_verdict huge_tlb;
	double seconds;      /* that were watched */
	uint64_t page_bytes; /* of a base page */
	struct touched touched;
	double beyond_first, beyond_second; /* shares of the time spent outside of the pages that a level holds */
	double jit_share;                   /* of the time, in memory that no file stands behind */
	double huge_share;                  /* of the time, in objects that are on huge pages already */
	double covered_share;               /* of the time, in text that hugexec would put on huge pages */
	bool has_counters;
	double counts[PERF_COUNTS];
};

enum advice { ADVICE_YES, ADVICE_MAYBE, ADVICE_NO, ADVICE_UNKNOWN };

/* Of the entries behind the first level, those that text has: half if data has its share. */
double advice_second_entries(const struct tlb_sizes *tlb);

/* The share of cycles in page walks for instructions. Without a counter for these, a walk is taken to be 25 cycles. */
double advice_walk_share(const struct advice_input *input);

/* One sentence into BUF: why, and how sure that is. */
enum advice advise(const struct advice_input *input, char *buf, size_t buf_bytes);

/* "yes", "maybe", "no", "unknown" */
const char *advice_word(enum advice advice);
