/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_insn.h - where in a tracee a syscall instruction stands, so that calls can be run in it without changing a
 * byte.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "ptrace/tracee.h"

/*
 * The address of a syscall instruction in TRACEE, or 0 with ERR word "no-vdso" or those of image_read(). In its vDSO at
 * VDSO_ADDR (0: there is none), which all native processes of a kernel have alike and which never moves; where there is
 * none (vdso=0 on the kernel's command line), in the text of the ELF interpreter or of the program, which every program
 * that can end has.
 */
uint64_t syscall_insn_find(const struct tracee *tracee, uint64_t vdso_addr, struct error *err);
