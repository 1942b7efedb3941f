/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapped_file.h - the file that a tracee has mapped, for reading.
 *
 * We may have more rights than the tracee, and what we read of the file becomes its text: so it must be the very file
 * that it has mapped, whatever stands at that path by now.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "mm/maps.h"

/*
 * The file of MAPPING, one of PID's. Of its program (IS_PROGRAM) by /proc/PID/exe, else by /proc/PID/map_files, which
 * asks for CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (Linux 5.9), else by its path in PID's root, with PID's own rights.
 * Whichever it was, the kernel is asked whether it is the file that is mapped (a process may change what /proc/PID/exe
 * leads to, prctl(2), PR_SET_MM_EXE_FILE). Returns a descriptor, or -1 with ERR word "no-proc" (there is no
 * /proc/PID/exe) or "text-unreadable", or as image_read() if our own mappings cannot be read.
 */
int mapped_file_open(pid_t pid, const struct mapping *mapping, bool is_program, struct error *err);

/*
 * Have the image's program be what /proc/PID/exe leads to, of a program that runs: AT_ENTRY may lie in a copy by now,
 * as may all of the text. Returns 0, or -1 with ERR as mapped_file_open(), or word "no-text" where nothing of that file
 * is mapped; then has_exe is false.
 */
int mapped_file_find_exe(struct image *image, pid_t pid, struct error *err);
