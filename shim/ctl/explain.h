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
	enum verdict remaps; /* text would come on huge pages */
	bool only_libraries; /* ... which is not known because of libraries: the program's own text would not */
	enum verdict starts; /* the program would be started; not where on_error is "fail" and its text cannot be had */
	struct error reason; /* why (its own) text would not, or that is not known; the word is a launch's */
};

void explain_conclude(const struct explanation *explanation, struct conclusion *out);

void explain_print(const struct explanation *explanation);
void explain_print_json(const struct explanation *explanation);

enum explained { EXPLAINED, EXPLAIN_NOT_FOUND, EXPLAIN_NOT_EXECUTABLE, EXPLAIN_NO_POLICY };

/*
 * Find COMMAND as a shell would, decide with the policy in POLICY_FILE (NULL: the host's) and BACKING (NULL: the
 * rule's), and print the explanation to standard output; on standard error why there is none.
 */
enum explained explain_program(const char *command, const char *policy_file, const char *backing, bool json);
