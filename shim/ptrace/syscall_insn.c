/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/syscall_insn.h"

#include <string.h>
#include <sys/auxv.h>

#include "base/size.h"
#include "host/pages.h"

/* The vDSO's page with its system calls is its first; no more is read than is there for sure. */
#define SEARCH_BYTES_MAX (8 * KIB)

uint64_t syscall_insn_find(const struct tracee *tracee, uint64_t vdso_addr, struct error *err)
{
	uint8_t vdso[SEARCH_BYTES_MAX];
	uint64_t page_bytes = host_pages()->base_bytes;
	size_t bytes = page_bytes < sizeof vdso ? page_bytes : sizeof vdso;
	ssize_t got = vdso_addr ? tracee_read(tracee, vdso_addr, vdso, bytes) : 0;
	if (vdso_addr && got <= 0) {                                         /* ours is the same */
		const void *ours = (const void *)getauxval(AT_SYSINFO_EHDR); // NOLINT(performance-no-int-to-ptr)
		got = ours ? (ssize_t)bytes : 0;
		if (ours)
			memcpy(vdso, ours, bytes);
	}
	for (size_t at = 0; got > 0 && at + sizeof arch_syscall_insn <= (size_t)got; at += ARCH_INSN_ALIGN) {
		if (memcmp(vdso + at, arch_syscall_insn, sizeof arch_syscall_insn) == 0)
			return vdso_addr + at;
	}
	error_set(err, REASON_NO_VDSO,
	          "process %d has no vDSO to run a system call from; boot the kernel without vdso=0", (int)tracee->pid);
	return 0;
}
