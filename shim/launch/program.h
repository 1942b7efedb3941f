/*
 * program.h - what COMMAND is, found out before it is executed: the file that execvp(3) would run, and whether tracing
 * it could hurt.
 */
#pragma once

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
	int errnum;          /* of PROGRAM_NOT_FOUND: what execvp(3) will say */
	uint64_t text_bytes; /* of an ELF file: what its first program headers call executable; a hint, not to be relied
	                        on */
	char path[4096];     /* resolved: absolute, without symbolic links */
	/*
	 * Set-uid, set-gid, file capabilities, or not readable for us: while such a program is traced by someone
	 * without CAP_SYS_PTRACE the kernel withholds its privileges (ptrace(2), "effects of execve"), so it must run
	 * untraced.
	 */
	bool privileged;
	bool unreadable; /* PRIVILEGED for no other reason than that it, or its interpreter, may not be read */
};

/* With CAP_SYS_PTRACE a traced program keeps its set-uid privileges; without, it must be let go before it is executed.
 */
bool program_may_trace_privileged(void);

/* Why PROGRAM, which is privileged, must run untraced, into REASON: word "privileged-program". Always returns -1. */
int program_privileged_error(const struct program *program, struct error *reason);

/* Look COMMAND up as execvp(3) does and read its first bytes, and those of its interpreters. Never fails. */
void program_inspect(const char *command, struct program *out);

/* As program_inspect() of the file at PATH, no search. */
void program_inspect_path(const char *path, struct program *out);

/* As open(2), for whoever VIEW tells. */
typedef int program_opener(void *view, const char *path, int flags);

/* As program_inspect_path(), of the file that OPEN_PATH opens at PATH, and of interpreters that it opens after that. */
void program_inspect_by(program_opener *open_path, void *view, const char *path, struct program *out);
