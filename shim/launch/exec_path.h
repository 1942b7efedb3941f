/*
 * exec_path.h - which file a tracee is about to execute, and whether it must do so untraced: for a tracer without
 * CAP_SYS_PTRACE, from which the kernel would protect a set-uid program by withholding its privileges (ptrace(2)).
 *
 * The path is the tracee's, in its own root, seen from its own folder, and "/proc/self" is the tracee. It is resolved
 * as the kernel will resolve it for the tracee, or not at all: what cannot be told must run untraced. Another thread of
 * the tracee's may still change the path before the kernel reads it; that costs nothing but the privileges.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "engine/tracee.h"

struct exec_path {
	char name[PATH_MAX];       /* as the tracee has it; the kernel takes no longer one (fs/namei.c, getname()) */
	int tracee_dir_fd;         /* what NAME is relative to, or AT_FDCWD */
	char shown[PATH_MAX + 64]; /* the same for a report: a path that means something to us, too */
};

enum exec_seen { EXEC_NONE, EXEC_OF_PATH, EXEC_UNREADABLE };

/* Whether the system call at whose entry TRACEE stands executes a program; OUT is filled for EXEC_OF_PATH. */
enum exec_seen exec_path_see(const struct tracee *tracee, struct exec_path *out);

/*
 * Whether the file that TRACEE's PATH names must run untraced, or cannot be told from one that must; REASON says why.
 * What is not there
 * is no program: execvp(3) looks for it in one folder after the other.
 */
bool exec_path_may_be_privileged(const struct tracee *tracee, const struct exec_path *path, struct error *reason);
