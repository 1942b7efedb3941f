/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_text.h - a unit file's text as systemd reads it (config_parse() of systemd 247 to 257), a setting at a time.
 *
 * What systemd would pass over with a warning, or reads differently from version to version, is a doubt here: bytes
 * that are no UTF-8, carriage returns, zeros, a section that is not closed. Pure: no I/O.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* KEY and VALUE have no blanks around them; VALUE of lines that go on behind a backslash is one line. */
typedef int (*unit_text_setting)(void *context, const char *section, const char *key, const char *value,
                                 struct error *err);

/*
 * Call EACH with every setting of TEXT (BYTES of it; changed), in order. Returns 0; -1 with ERR "unit-unfit" (a doubt)
 * or with that of EACH, which ends with it.
 */
int unit_text_parse(char *text, size_t bytes, unit_text_setting each, void *context, struct error *err);
