/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready_file.h - a file that is there while an engine has us as a plugin, for a probe, or for what labels nodes.
 *
 * Of two plugins with the same file, as while a DaemonSet is updated, the one that came last has it: the other leaves
 * it there when it ends.
 */
#pragma once

#include <sys/stat.h>

#include "base/error.h"

struct ready_file {
	const char *path; /* NULL: none is wanted */
	struct stat made; /* st_nlink 0: we have made none */
};

/* Returns 0, or -1 with ERR, word "nri", and no file of ours. */
int ready_file_make(struct ready_file *file, struct error *err);
void ready_file_remove(struct ready_file *file);
