/*
 * mapped_file.h - the file that a tracee has mapped, for reading.
 *
 * We may have more rights than the tracee, and what we read of the file becomes its text: so it must be the very file
 * that it has mapped, whatever stands at that path by now.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "engine/image.h"

/* The file that PID runs, by /proc/PID/exe. Returns a descriptor, or -1 with ERR word "no-proc". */
int mapped_file_open_exe(pid_t pid, struct error *err);

/*
 * The file of MAPPING, one of PID's: by /proc/PID/map_files, which asks for CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE
 * (Linux 5.9), else by its path in PID's root, with PID's own rights, and only where it is the file that is mapped.
 * Returns a descriptor, or -1 with ERR word "text-unreadable".
 */
int mapped_file_open(pid_t pid, const struct mapping *mapping, struct error *err);
