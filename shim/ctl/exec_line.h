/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_line.h - a unit's ExecStart= as systemd has read it, and what it has to be with hugexec before it: what enable
 * compares after a reload, word by word. Pure: no I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The prefixes of systemd.service(5), by bit. */
enum exec_flag {
	EXEC_IGNORE_FAILURE = 1 << 0, /* - */
	EXEC_NO_ENV_EXPAND = 1 << 1,  /* : */
	EXEC_PRIVILEGED = 1 << 2,     /* + */
	EXEC_NO_SETUID = 1 << 3,      /* ! */
	EXEC_AMBIENT = 1 << 4,        /* !! */
};

/* One command of ExecStart= (of a oneshot there may be several), as D-Bus has it. */
struct exec_command {
	char *path;
	char **argv; /* NULL-terminated; argv[0] is what the process is told that it is called */
	unsigned flags;
};

struct exec_commands {
	struct exec_command *list;
	size_t count;
};

void exec_commands_free(struct exec_commands *commands);

bool exec_commands_equal(const struct exec_commands *a, const struct exec_commands *b);

/* The flag that systemd calls NAME on D-Bus ("ignore-failure"); 0: we know none. */
unsigned exec_flag_of(const char *name);

/* The instance that stands for all instances of a template while its command lines are read. */
#define EXEC_TEMPLATE_INSTANCE "hugexec\\x2dtemplate"

/*
 * Put LAUNCHER (an absolute path) before every command of FROM, into *OUT (exec_commands_free() it).
 * Returns 0, or -1 with ERR "unit-unfit" (there is no command; one runs through it already; its argv[0] is a
 * variable that may become several words) or "memory".
 */
int exec_commands_prefix(const struct exec_commands *from, const char *launcher, struct exec_commands *out,
                         struct error *err);
