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
 * /proc/PID/exe) or "text-unreadable", or as address_space_read() if our own mappings cannot be read.
 *
 * Of a remote file it is a descriptor of a place (O_PATH), so that the caller waits for nobody, neither here nor when
 * it closes it or ends: see mapped_file_readable().
 */
int mapped_file_open(pid_t pid, const struct mapping *mapping, bool is_program, struct error *err);

/*
 * What the kernel calls the file open at FD, its device and inode, in a list of mappings: device numbers of fstat(2)
 * are others on btrfs and overlayfs. So a mapping of our own is looked at, and FILE is that, without a path. Returns 0,
 * or -1 with ERR word "text-unreadable", or as address_space_read().
 */
int mapped_file_identify(int fd, struct mapping *file, struct error *err);

/* Whether FD, of mapped_file_open(), is that of a remote file. */
bool mapped_file_is_remote(int fd);

/*
 * A descriptor to read the file of FD by, which is FD but for a remote file: then opening, reading and closing may last
 * for ever, and the caller is one that may be killed (base/aside.h). Returns it (the caller closes it if it is
 * another), or -1 with errno.
 */
int mapped_file_readable(int fd);

/*
 * Whether PID's program is a remote file: another computer (NFS, CIFS) or a process (FUSE) serves it, which may not
 * answer. Told by the kernel alone.
 */
bool mapped_file_exe_is_remote(pid_t pid);

/*
 * Have the address space's program be what /proc/PID/exe leads to, of a program that runs: AT_ENTRY may lie in a copy
 * by now, as may all of the text. Returns 0, or -1 with ERR as mapped_file_open(), or word "no-text" if nothing of that
 * file is mapped; then has_exe is false.
 */
int mapped_file_find_exe(struct address_space *space, pid_t pid, struct error *err);
