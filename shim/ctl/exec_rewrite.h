/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_rewrite.h - the value of ExecStart=, as it stands in a unit file, with hugexec before each command.
 *
 * Words stay as they are written: quotes, escapes, specifiers and variables are systemd's to resolve, when it loads the
 * unit and when it starts it. Only prefixes are looked at, and the first word or two. Pure: no I/O.
 */
#pragma once

#include <stdio.h>

#include "base/error.h"

/* What a rewritten line runs: LAUNCHER [--argv0=NAME] -- PATH ARG... */
struct exec_rewrite {
	const char *launcher; /* absolute, of plain characters */
	const char *hugexec;  /* a command of it, or of LAUNCHER, needs nothing */
	/* The path of the first command as written, without quotes; "" if it has more than plain characters. */
	char program[256];
	bool is_mixed;  /* another command has a program of another name */
	unsigned count; /* commands so far */
};

/*
 * Write the lines "ExecStart=..." for the commands of VALUE (not empty) to STREAM. Returns 0, or -1 with ERR
 * "unit-unfit": runs through hugexec already, a prefix that we do not know, a name behind @ that is a variable, or
 * anything that could be read in two ways. STREAM may have a part of it then.
 */
int exec_rewrite(struct exec_rewrite *rewrite, FILE *stream, const char *value, struct error *err);
