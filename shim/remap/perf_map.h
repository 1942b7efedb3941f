/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_map.h - /tmp/perf-PID.map: which function is where, for tools that would look into the mapping's file for it and
 * find a copy without symbols there (perf, bcc, bpftrace; the format is that of Linux's
 * tools/perf/Documentation/jit-interface.txt).
 *
 * /tmp is the workload's own, in its root and under its PID namespace's number, and may be as hostile as it likes: the
 * file is created there anew, with the workload's rights, for the workload alone; what else is found under that name is
 * left as it is. The symbols come from the sandboxed ELF reader.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "remap/plan.h"

/*
 * Write the functions inside PLAN's ranges, which are of the ELF file open at TEXT_FD and on huge pages of a copy by
 * now. ADD: to the map that was written for another object of the process a moment ago. It is written while PID is
 * held, for TIMEOUT_MS at most, because nothing of hugexec's outlives a start; it takes about a millisecond for every
 * 2,000 functions. Returns 0, or -1 with ERR word "perf-map"; then the map is short or missing, and nothing else is
 * different.
 */
int perf_map_write(pid_t pid, const struct plan *plan, int text_fd, bool add, int timeout_ms, struct error *err);
