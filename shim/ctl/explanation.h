/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explanation.h - what `hugexecctl explain` has found out about a program.
 */
#pragma once

#include <limits.h>

#include "ctl/explain_libraries.h"
#include "ctl/probe.h"
#include "policy/policy.h"
#include "remap/plan_estimate.h"
#include "sandbox/elf/elf_client.h"
#include "tracer/exe_inspect.h"

#define EXPLAIN_SCRIPTS_MAX 5 /* as many interpreter lines as the kernel follows (fs/exec.c, exec_binprm()) */

/* Whether one of the decision's backings could carry the plan out. */
struct backing_outlook {
	enum backing backing;
	enum verdict verdict;  /* unknown: only the program's start would tell */
	uint64_t bytes;        /* at most on huge pages by it */
	uint64_t copied_bytes; /* and so much more in a private copy (coverage "full") */
	struct error reason;   /* set if it does not work, or that is not known, or some of it does not work */
	char note[256];        /* how it is known that it works; "" */
};

struct explanation {
	char scripts[EXPLAIN_SCRIPTS_MAX][PATH_MAX]; /* the way to PROGRAM, if it begins with scripts */
	unsigned script_count;
	struct program command; /* what would be executed first: a script, or the same as PROGRAM */
	struct program program; /* the ELF file that would run */
	char build_id[2 * ELF_BUILD_ID_MAX + 1];
	struct elf_info elf;
	struct error elf_error; /* set: ELF is not known */
	char unit[256], cgroup[PATH_MAX];
	struct decision decision;         /* its strings are the policy's */
	const char *called;               /* another path of PROGRAM, by which it would be executed; NULL: none */
	bool goes_by_env;                 /* a script's env(1) finds the program */
	enum follow follow;               /* if nothing is done: what is asked about again */
	struct error no_follow;           /* why it is not followed although it should be; unset: it is */
	struct error ruled_out;           /* why its text is left alone, whatever that is; unset: it is looked at */
	struct forecast forecast;         /* by the huge pages of the page cache and of thp */
	struct forecast hugetlb_forecast; /* by pages of the setting page_size */
	struct backing_outlook outlooks[BACKING_COUNT];
	unsigned outlook_count;
	struct explained_libraries libraries; /* if the rule wants them */
};
