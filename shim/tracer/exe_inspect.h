/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exe_inspect.h - what COMMAND is, found out before it is executed: the file that execvp(3) would run, and whether
 * tracing it could hurt.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum program_kind {
	PROGRAM_NOT_FOUND, /* or not to be executed; exec will say why */
	PROGRAM_ELF,       /* native ELF */
	PROGRAM_SCRIPT,    /* starts with #!, or with nothing that exec knows: a shell runs it */
	PROGRAM_FOREIGN,   /* 32-bit, or another processor's */
};

struct program {
	enum program_kind kind;
	int errnum;           /* of PROGRAM_NOT_FOUND: what execvp(3) will say */
	uint64_t text_bytes;  /* of an ELF file: whole pages of what its first program headers call executable; 0: not
	                         known. A hint */
	char path[PATH_MAX];  /* resolved: absolute, without symbolic links */
	char found[PATH_MAX]; /* the file's name as execvp(3) would give it to execve(2) */
	/*
	 * Set-uid, set-gid, file capabilities, or not readable for us: while such a program is traced by someone
	 * without CAP_SYS_PTRACE the kernel withholds its privileges (ptrace(2), "effects of execve"), so it must run
	 * untraced.
	 */
	bool privileged;
	bool unreadable; /* PRIVILEGED for no other reason than that it, or its interpreter, may not be read */
};

/* The absolute path by which PROGRAM would be executed if that is not its resolved one; NULL: none, or a script. */
const char *program_called(const struct program *program);

/* With CAP_SYS_PTRACE a traced program keeps its set-uid privileges; without, it must run untraced. */
bool program_may_trace_privileged(void);

/*
 * Whether nothing that this process executes, now or later, can lose privileges because we trace it: we have
 * CAP_SYS_PTRACE, or no_new_privs is set, with which nothing gains any.
 */
bool program_tracing_is_harmless(void);

/* Whether PROGRAM may be executed while we trace it: it has nothing to lose by that, or keeps it. */
bool program_may_be_traced(const struct program *program);

/* Why PROGRAM, which is privileged, must run untraced, into REASON: word "privileged-program". Always returns -1. */
int program_privileged_error(const struct program *program, struct error *reason);

/* Look COMMAND up as execvp(3) does and read its first bytes, and those of its interpreters. Never fails. */
void program_inspect(const char *command, struct program *out);

/* As program_inspect() of the file at PATH, no search. */
void program_inspect_path(const char *path, struct program *out);
