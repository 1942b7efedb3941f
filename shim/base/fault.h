/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - named steps at which the tests kill or stop hugexec. In a build without -Dfaults=true they are nothing.
 *
 * HUGEXEC_FAULT="kill:NAME" kills the calling process with SIGKILL at the step; "hang:NAME" stops it there for ever,
 * "stop:NAME" until somebody continues it. All steps of a launch are named in fault.c, for --list-steps;
 * those of hugexecctl enable are in tests/packaging/test_enable_faults.py.
 */
#pragma once

#include "config.h"

#if HUGEXEC_FAULTS
void fault_point(const char *step);
void fault_list(void); /* the names, a line each, to standard output */
#else
static inline void fault_point(const char *step)
{
	(void)step;
}
#endif
