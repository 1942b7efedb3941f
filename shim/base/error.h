/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - why something did not work, in a form that can be passed up.
 *
 * Nothing below main() prints or exits: the caller decides, because nearly every failure ends with "undo, say why, run
 * the workload". An error is a reason with a short stable word (reason.def), which the report and the journal carry and
 * scripts may compare, and a detail for people: "hugetlb-pool: 12 of the 31 pages needed are free".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/reason.h"

/* Room for a word and a detail, and what stands between and around them. */
#define ERROR_TEXT_BYTES 520

struct error {
	enum reason code; /* REASON_NONE: no error */
	char detail[480]; /* may be empty */
};

/* Fill ERR (may be NULL) with REASON and a formatted detail. Always returns -1, so that `return error_set(...)` reads
 * well. */
int error_set(struct error *err, enum reason reason, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As error_set(), with ": " and the text of ERRNUM (an errno value, positive) added. */
int error_set_errno(struct error *err, int errnum, enum reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static inline bool error_is_set(const struct error *err)
{
	return err->code != REASON_NONE;
}

/* "word: detail", or "word" if there is no detail, into BUF (always terminated). Returns BUF. */
const char *error_text(const struct error *err, char *buf, size_t buf_bytes);
