/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real_runtime.h - which program hugexec-runtime becomes, and never itself.
 *
 * In this order: the option --runtime; the member "runtime" of RUNTIME_CONFIG; runc, then crun, of PATH and the usual
 * folders. A name without a slash is looked for there, too. The environment has no say: what containerd was started
 * with is not where an administrator would look for a choice like that.
 *
 * Itself is left out by device and inode. A longer circle, over another wrapper, is noticed by a mark in the
 * environment, which execve(2) keeps like the process id that it holds: the second time round the configuration is not
 * asked, the third time there is an error. Containers do not see it: their environment is what config.json says.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "config.h"

#define RUNTIME_CONFIG HUGEXEC_CONFDIR "/runtime.json" /* {"version": 1, "runtime": "/usr/bin/crun"} */

/*
 * The runtime's absolute path into PATH_BUF. WANTED: by --runtime, or NULL. Returns 0, with ERR set if a choice was
 * passed over; or -1 with ERR if there is none. Word "runtime".
 */
int real_runtime_find(const char *wanted, char *path_buf, size_t buf_bytes, struct error *err);
