/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle.h - read the config.json of a bundle, which may be anybody's.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"

#define BUNDLE_CONFIG_MAX_BYTES (8 * 1024 * 1024) /* real ones have some 10 KiB */
#define BUNDLE_VALUES_MAX       100000            /* real ones have some 1,000 */

/*
 * Read the file NAME in directory BUNDLE, no link and nothing but a plain file, into a fresh string (free() *TEXT).
 * ABOUT (may be NULL) gets what fstat says of it. Returns a descriptor of the directory to close, or -1 with ERR word
 * "bundle".
 */
int bundle_read(const char *bundle, const char *name, char **text, size_t *bytes, struct stat *about,
                struct error *err);
