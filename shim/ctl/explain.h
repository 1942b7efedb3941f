/*
 * explain.h - what `hugexecctl explain` has found out about a program, and how it tells it.
 */
#pragma once

#include <limits.h>

#include "ctl/probe.h"
#include "elf/elf_reader.h"
#include "engine/forecast.h"
#include "launch/program.h"
#include "policy/policy.h"

#define EXPLAIN_SCRIPTS_MAX 5 /* as many interpreter lines as the kernel follows (fs/exec.c, exec_binprm()) */

/* Whether one of the decision's backings could carry the plan out. */
struct backing_outlook {
	enum backing backing;
	enum verdict verdict; /* unknown: only the program's start would tell */
	uint64_t bytes;       /* at most on huge pages by it */
	struct error reason;  /* set where it does not work, or that is not known */
};

struct explanation {
	char scripts[EXPLAIN_SCRIPTS_MAX][PATH_MAX]; /* the way to PROGRAM, where it begins with scripts */
	unsigned script_count;
	struct program program; /* the ELF file that would run */
	char build_id[2 * ELF_BUILD_ID_MAX + 1];
	struct elf_facts elf;
	struct error elf_error; /* set: ELF is not known */
	char unit[256], cgroup[4096];
	struct decision decision;         /* its strings are the policy's */
	bool follows;                     /* some rule may want what the program executes */
	struct forecast forecast;         /* by the huge pages of the page cache and of thp */
	struct forecast hugetlb_forecast; /* by pages of the setting page_size */
	struct backing_outlook outlooks[BACKING_COUNT];
	unsigned outlook_count;
};

/* From what is known of the program and the decision: the forecast and what each backing could do here. */
void explain_plan(struct explanation *explanation);

/*
 * Whether, with all that is known, text would come on huge pages. REASON says why not, or why that is not known, with
 * the word that the report of a launch would have.
 */
enum verdict explain_verdict(const struct explanation *explanation, struct error *reason);

void explain_print(const struct explanation *explanation);
void explain_print_json(const struct explanation *explanation);

enum explained { EXPLAINED, EXPLAIN_NOT_FOUND, EXPLAIN_NO_POLICY };

/*
 * Find COMMAND as a shell would, decide with the policy in POLICY_FILE (NULL: the host's) and BACKING (NULL: the
 * rule's), and print the explanation to standard output; on standard error why there is none.
 */
enum explained explain_program(const char *command, const char *policy_file, const char *backing, bool json);
