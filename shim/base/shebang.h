/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shebang.h - the first line of a script, "#!INTERPRETER ARGUMENT", as the kernel reads it (fs/binfmt_script.c).
 */
#pragma once

#include <stdbool.h>

#define SHEBANG_BYTES 256 /* BINPRM_BUF_SIZE: the kernel looks no further */

struct shebang {
	char interpreter[SHEBANG_BYTES];
	char argument[SHEBANG_BYTES]; /* its first word; "" if there is none */
};

/* Whether HEAD, the first bytes of a file with a '\0' behind them, starts such a line. */
bool shebang_is(const char *head);

/* What HEAD (SHEBANG_BYTES at most) says; false if it names no interpreter, and OUT is empty then. */
bool shebang_parse(const char *head, struct shebang *out);
