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
 * The address of a syscall instruction in TRACEE, in its vDSO at VDSO_ADDR, or 0 with ERR word "no-vdso" (VDSO_ADDR is
 * 0 for a kernel with vdso=0 on its command line).
 */
uint64_t syscall_insn_find(const struct tracee *tracee, uint64_t vdso_addr, struct error *err);
