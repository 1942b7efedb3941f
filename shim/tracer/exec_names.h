/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_names.h - by which name a program was executed, read from the stack that the kernel has just made for it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "ptrace/tracee.h"

struct exec_names {
	char called[PATH_MAX]; /* what execve(2) was given; "" if it cannot be read */
	/*
	 * What runs was not asked for: it is the interpreter of CALLED, which is a script or belongs to binfmt_misc.
	 */
	bool is_script;
};

/*
 * TRACEE stands at its exec stop, so nobody has written to its stack yet but the kernel. Opens nothing by a name; what
 * is read is bounded, and is a hint: whoever executes a program chooses its arguments.
 */
void exec_names_read(const struct tracee *tracee, struct exec_names *out);
