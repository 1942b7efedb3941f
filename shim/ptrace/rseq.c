/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/rseq.h"

#include <linux/rseq.h>
#include <stddef.h>
#include <sys/ptrace.h>

/* Linux 5.13 and 6.4; not in every libc's header. The kernel's structs of these requests are laid out so. */
#define GET_RSEQ_CONFIGURATION 0x420f
#define GET_USER_DISPATCH      0x4211
#define USER_DISPATCH_ON       1

struct rseq_configuration {
	uint64_t rseq_addr;
	uint32_t rseq_bytes, signature, flags, padding;
};

struct dispatch_configuration {
	uint64_t mode, selector_addr, offset, len;
};

static long request(int number, pid_t tid, size_t bytes, void *out)
{
	return ptrace((enum __ptrace_request)number, tid, bytes, out);
}

int tracee_check_dispatch(pid_t tid, struct error *err)
{
	struct dispatch_configuration dispatch = {0};
	if (request(GET_USER_DISPATCH, tid, sizeof dispatch, &dispatch) < 0 || dispatch.mode != USER_DISPATCH_ON)
		return 0;
	return error_set(err, REASON_SYSCALL_DISPATCH, "process %d uses Syscall User Dispatch", (int)tid);
}

/*
 * Flags that forbid the abort are no longer valid (Linux 6.1 ends a process for them); a sequence with them is left as
 * it is.
 */
void rseq_find(const struct tracee *tracee, uint64_t pc, struct rseq_section *out)
{
	struct rseq_configuration rseq = {0};
	struct rseq_cs section;
	uint64_t section_addr = 0;
	*out = (struct rseq_section){0};
	if (request(GET_RSEQ_CONFIGURATION, tracee->pid, sizeof rseq, &rseq) < 0 || !rseq.rseq_addr)
		return;
	uint64_t field_addr = rseq.rseq_addr + offsetof(struct rseq, rseq_cs);
	if (tracee_read(tracee, field_addr, &section_addr, sizeof section_addr) != sizeof section_addr ||
	    !section_addr || tracee_read(tracee, section_addr, &section, sizeof section) != sizeof section)
		return;
	if (section.version == 0 && section.flags == 0 && pc - section.start_ip < section.post_commit_offset)
		*out = (struct rseq_section){section.abort_ip, field_addr};
}
