/*
 * explain.h - what `hugexecctl explain` has found out about a program, and how it tells it.
 */
#pragma once

#include <limits.h>

#include "elf/elf_reader.h"
#include "engine/forecast.h"
#include "launch/program.h"
#include "policy/policy.h"

#define EXPLAIN_SCRIPTS_MAX 5 /* as many interpreter lines as the kernel follows (fs/exec.c, exec_binprm()) */

/* Whether one of the decision's backings could carry the plan out. */
struct backing_outlook {
	enum backing backing;
	int possible;        /* 1 yes, 0 no, -1 not known before the program runs */
	uint64_t bytes;      /* at most on huge pages by it */
	struct error reason; /* set where it is not possible */
};

struct explanation {
	char scripts[EXPLAIN_SCRIPTS_MAX][PATH_MAX]; /* the way to PROGRAM, where it begins with scripts */
	unsigned script_count;
	struct program program; /* the ELF file that would run */
	char build_id[2 * ELF_BUILD_ID_MAX + 1];
	struct elf_facts elf;
	struct error elf_error; /* set: ELF is not known */
	char unit[256], cgroup[4096];
	struct decision decision; /* its strings are the policy's */
	struct forecast forecast;
	struct backing_outlook outlooks[BACKING_COUNT];
	unsigned outlook_count;
};

/* From what is known of the program and the decision: the forecast and what each backing could do here. */
void explain_plan(struct explanation *explanation);

/* Whether, with all that is known, text would come on huge pages; REASON (may be NULL) says why not. */
bool explain_would_remap(const struct explanation *explanation, struct error *reason);

void explain_print(const struct explanation *explanation);
void explain_print_json(const struct explanation *explanation);

/*
 * Find COMMAND as a shell would, decide with the policy in POLICY_FILE (NULL: the host's) and BACKING (NULL: the
 * rule's), and print the explanation to standard output. Returns false, with a message on standard error, where there
 * is no such program or the policy is broken.
 */
bool explain_program(const char *command, const char *policy_file, const char *backing, bool json);
