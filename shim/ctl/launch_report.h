/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_report.h - reads a file of reports, as `hugexec --report=FILE` writes them.
 */
#pragma once

#include "ctl/comparison.h"

/*
 * The last report of each program (told by its path) in the file at PATH into REPORTED of OUT, in order of first
 * appearance. The file may end in the middle of a line. What cannot be read is left out.
 */
void launch_report_read(const char *path, struct comparison *out);
