/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook_path.h - where hugexec-oci-hook is, as whoever adds it to a container names it.
 */
#pragma once

#include <stddef.h>

/* The hook beside this program, as on a node where all of hugexec is in a folder of its own; else the installed one.
 * Returns BUF, which has room for a path. */
const char *hook_path(char *buf, size_t buf_bytes);
