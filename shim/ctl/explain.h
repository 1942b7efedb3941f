/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain.h - what `hugexecctl explain` has found out about a program, and how it tells it. It runs, writes and takes
 * nothing: no file, no page, nothing of the page cache.
 */
#pragma once

#include "ctl/explanation.h"

/* From what is known of the program and the decision: the forecast and what each backing could do here. */
void explain_plan(struct explanation *explanation);

/* What would come of a launch, with all that is known. */
struct conclusion {
	enum verdict remaps;           /* text would come on huge pages */
	enum libraries_hope libraries; /* what may, if its own text would not */
	enum verdict starts; /* the program would be started; not if on_error is "fail" and its text stays small */
	struct error reason; /* why (its own) text would not, or that is not known; the word is a launch's */
};

void explain_conclude(const struct explanation *explanation, struct conclusion *out);

void explain_print(const struct explanation *explanation);
void explain_print_json(const struct explanation *explanation);

enum explained { EXPLAINED, EXPLAIN_NOT_FOUND, EXPLAIN_NOT_EXECUTABLE, EXPLAIN_NO_POLICY };

/* Who asks what; NULL but for COMMAND: not given. */
struct explain_request {
	const char *command;     /* found as a shell would */
	const char *policy_file; /* in place of the host's policy */
	struct overrides overrides;
	const char *unit;   /* as if this systemd unit started it; its cgroup is then not known */
	const char *cgroup; /* as if it were started there */
	bool json;
};

/* Print the explanation to standard output; on standard error why there is none. */
enum explained explain_program(const struct explain_request *request);

/* The same in a line, into BUF, which is untouched if it is not EXPLAINED. */
enum explained explain_foretell(const struct explain_request *request, char *buf, size_t buf_bytes);
