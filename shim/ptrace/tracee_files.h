/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracee_files.h - open files between us and a tracee, without a name: what a name leads to is the tracee's root's to
 * say, and /proc/self/exe may be any file if its /proc is no procfs.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "ptrace/tracee.h"

/* Room that tracee_pass_file() needs in the tracee's memory. */
#define TRACEE_PASS_BYTES 128

/*
 * memfd_create(2) with FLAGS (and MFD_CLOEXEC, MFD_ALLOW_SEALING) in TRACEE (INJECTING). Nothing is written to its
 * memory: the name is the program's own path, which the kernel has laid there (AT_EXECFN), and shows in
 * /proc/PID/maps. Returns the tracee's descriptor, which the caller closes there, or -errno as remote_syscall().
 */
int64_t tracee_memfd_create(struct tracee *tracee, unsigned flags, struct error *err);

/*
 * Our own descriptor (close-on-exec) of what PID has open as TRACEE_FD: the same open file (pidfd_getfd(2), Linux 5.6).
 * Returns it, or -1 with ERR word "remap".
 */
int tracee_fetch_fd(pid_t pid, int tracee_fd, struct error *err);

/*
 * What tracee_pass_file() has opened in a tracee, by its descriptors there: the file, negative if it has not got it,
 * and the sockets that it came through.
 */
struct passed_file {
	int fd, sockets[2];
};

/*
 * Give TRACEE (INJECTING, no other thread of it runs) a descriptor of our open file FD, close-on-exec: it makes a pair
 * of sockets, we send the file through our copy of one end (unix(7), SCM_RIGHTS), it receives. SCRATCH_ADDR: memory of
 * the tracee's, TRACEE_PASS_BYTES of it, which are overwritten. Returns the descriptor in the tracee, of whose files
 * tracee_close_passed() is to be called. Or -1: it has not got it, and nothing is left open in it, or it is GONE.
 */
int tracee_pass_file(struct tracee *tracee, int fd, uint64_t scratch_addr, struct passed_file *passed);

/* Close what tracee_pass_file() has opened, if anything. TRACEE: INJECTING, or GONE. */
void tracee_close_passed(struct tracee *tracee, const struct passed_file *passed);
