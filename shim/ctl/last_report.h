/* SPDX-License-Identifier: Apache-2.0 */
/*
 * last_report.h - what the journal has of a unit's last launch.
 */
#pragma once

#include <stddef.h>

/*
 * The last thing that hugexec has told the journal of UNIT, with its time, into BUF. Returns BUF, or NULL if the
 * journal has nothing of it, or may not be read.
 */
const char *last_report_of(const char *unit, char *buf, size_t buf_bytes);
