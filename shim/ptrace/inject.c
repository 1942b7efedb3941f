/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/inject.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/proc.h"
#include "base/retry.h"
#include "mm/maps.h"
#include "ptrace/rseq.h"
#include "ptrace/same_processor.h"
#include "ptrace/syscall_insn.h"
#include "ptrace/syscall_stop.h"

/* Stop signals may interrupt an injected call any number of times; more than this is not an accident. */
#define INTERRUPTED_CALLS_MAX 10000

/* From the mappings if the auxiliary vector cannot be read: without it the tracer could not even be reaped. */
static uint64_t find_vdso(const struct tracee *tracee)
{
	struct address_space space;
	uint64_t vdso_addr = tracee_auxv(tracee, AT_SYSINFO_EHDR);
	if (vdso_addr || address_space_read(tracee->pid, &space, NULL) < 0)
		return vdso_addr;
	for (size_t i = 0; i < space.count && !vdso_addr; i++) {
		if (strcmp(space.mappings[i].path, "[vdso]") == 0)
			vdso_addr = space.mappings[i].start;
	}
	address_space_free(&space);
	return vdso_addr;
}

static int find_syscall_insn(struct tracee *tracee, struct error *err)
{
	if (!tracee->syscall_insn_addr)
		tracee->syscall_insn_addr = syscall_insn_find(tracee, find_vdso(tracee), err);
	return tracee->syscall_insn_addr ? 0 : -1;
}

/* A stop of which nobody has been told is that of a program which another thread has executed (see
 * tracee_to_syscall_stop()).
 */
static bool has_been_replaced(const struct tracee *tracee)
{
	int status;
	return tracee->process && retry(waitpid(tracee->pid, &status, __WALL | WNOHANG)) != 0;
}

/* As the kernel does it for a thread that was interrupted; from here on it cannot run any more without saved_regs. */
static void abort_sequence(struct tracee *tracee)
{
	static const uint64_t none;
	struct rseq_section sequence;
	rseq_find(tracee, arch_pc(&tracee->saved_regs), &sequence);
	if (sequence.abort_addr &&
	    tracee_write(tracee, sequence.field_addr, &none, sizeof none) == (ssize_t)sizeof none)
		arch_set_pc(&tracee->saved_regs, sequence.abort_addr);
}

int inject_begin(struct tracee *tracee, struct error *err)
{
	if (has_been_replaced(tracee))
		return tracee_lost(tracee, err);
	if (tracee_get_regs(tracee, &tracee->saved_regs, err) < 0 ||
	    tracee_set_regs(tracee, &tracee->saved_regs, err) < 0 || find_syscall_insn(tracee, err) < 0)
		return -1;
	if (ptrace(PTRACE_GETSIGMASK, tracee->pid, sizeof tracee->saved_mask, &tracee->saved_mask) < 0)
		return tracee_failed(tracee, "reading the signal mask", err);
	long suspend = tracee->suspends_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0;
	if (tracee_set_options(tracee, tracee->options | PTRACE_O_EXITKILL | suspend, err) < 0)
		return -1;
	tracee->state = TRACEE_INJECTING;
	if (tracee_set_mask(tracee, UINT64_MAX, err) < 0) {
		/* Nothing but the options was changed, and setting the mask back would be refused, too. */
		if (tracee->state == TRACEE_GONE || tracee_set_options(tracee, tracee->options, NULL) < 0)
			tracee_kill(tracee);
		else
			tracee->state = TRACEE_STOPPED;
		return -1;
	}
	tracee->shares_processor = !tracee->process && same_processor_begin(tracee->pid);
	if (tracee->process)
		abort_sequence(tracee);
	fault_point("borrowed");
	return 0;
}

/* One try of one call. *RESULT may come back as a restart code when a stop signal interrupted it. */
static int run_syscall_once(struct tracee *tracee, long nr, const uint64_t args[6], int64_t *result, struct error *err)
{
	struct arch_regs regs = tracee->saved_regs;
	arch_prepare_syscall(&regs, tracee->syscall_insn_addr, nr, args);
	if (tracee_set_regs(tracee, &regs, err) < 0 || tracee_to_syscall_stop(tracee, err) < 0 ||
	    tracee_to_syscall_stop(tracee, err) < 0 || tracee_get_regs(tracee, &regs, err) < 0) {
		tracee_kill(tracee);
		return -1;
	}
	*result = arch_result(&regs);
	return 0;
}

/* What the kernel returns inside for a call that a signal cut short (include/linux/errno.h): 512 to 516, and plain
 * EINTR. */
static bool was_interrupted(int64_t result)
{
	return result == -EINTR || (result <= -512 && result >= -516);
}

int64_t remote_syscall(struct tracee *tracee, struct error *err, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5)
{
	const uint64_t args[6] = {a0, a1, a2, a3, a4, a5};
	int64_t result = -EINTR;
	for (int tries = 0; was_interrupted(result) && tries < INTERRUPTED_CALLS_MAX; tries++) {
		if (run_syscall_once(tracee, nr, args, &result, err) < 0)
			return INT64_MIN;
	}
	return result;
}

int inject_end(struct tracee *tracee, struct error *err)
{
	if (tracee->state == TRACEE_GONE)
		return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)tracee->pid);
	if (tracee_give_processors(tracee) < 0 || tracee_set_regs(tracee, &tracee->saved_regs, err) < 0 ||
	    tracee_set_mask(tracee, tracee->saved_mask, err) < 0 ||
	    tracee_set_options(tracee, tracee->options, err) < 0) {
		tracee_kill(tracee);
		return -1;
	}
	tracee->state = TRACEE_STOPPED;
	return 0;
}

/* The last system call that the tracee makes on our behalf. */
struct last_call {
	long nr;
	uint64_t args[6];
};

#define RED_ZONE_BYTES 128

uint64_t tracee_scratch(const struct tracee *tracee, uint64_t bytes)
{
	return (arch_stack(&tracee->saved_regs) - RED_ZONE_BYTES - bytes) & ~UINT64_C(15);
}

/* Whether the tracee could write to TRACEE_ADDR; true if that cannot be told. */
static bool is_writable(const struct tracee *tracee, uint64_t tracee_addr)
{
	struct address_space space;
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return true;
	ssize_t at = address_space_find(&space, tracee_addr);
	bool writable = at < 0 || (space.mappings[at].prot & PROT_WRITE);
	address_space_free(&space);
	return writable;
}

/* With the tracee borrowed: lead it to the entry of its last call, ready to go on alone. */
static int lead_to_last_call(struct tracee *tracee, const struct last_call *last, struct error *err)
{
	struct arch_regs regs = tracee->saved_regs;
	arch_prepare_syscall(&regs, tracee->syscall_insn_addr, last->nr, last->args);
	if (tracee_set_regs(tracee, &regs, err) < 0 || tracee_to_syscall_stop(tracee, err) < 0)
		return -1;
	fault_point("handoff-entry");
	arch_finish_in_syscall(&regs, &tracee->saved_regs, last->nr, last->args);
	if (tracee_give_processors(tracee) < 0 || tracee_set_regs(tracee, &regs, err) < 0 ||
	    tracee_set_mask(tracee, tracee->saved_mask, err) < 0)
		return -1;
	fault_point("handoff-set");
	return tracee_set_options(tracee, tracee->options, err);
}

/* Who ignores SIGCHLD reaps nobody: the kernel does it (do_notify_parent()), and waitid finds no child. */
static bool ignores_sigchld(pid_t pid)
{
	uint64_t ignored = 0;
	cleanup_free char *status = proc_status(pid);
	return proc_u64(status, "SigIgn", 16, &ignored) == 0 && ignored & (UINT64_C(1) << (SIGCHLD - 1));
}

int tracee_hand_off(struct tracee *tracee, pid_t tracer_pid, struct error *err)
{
	if (ARCH_RESULT_IS_SEEN && ignores_sigchld(tracee->pid)) {
		tracee->state = TRACEE_DETACHED;
		return 0;
	}
	if (inject_begin(tracee, err) < 0)
		return -1;
	fault_point("handoff-borrowed");
	uint64_t info_addr = arch_kept_argument(&tracee->saved_regs);
	if (info_addr && is_writable(tracee, info_addr))
		info_addr = 0;
	struct last_call last = {SYS_waitid, {P_PID, (uint64_t)tracer_pid, info_addr, WEXITED | __WALL, 0, 0}};
	if (lead_to_last_call(tracee, &last, err) < 0) {
		tracee_kill(tracee);
		return -1;
	}
	fault_point("handoff-free");
	tracee->state = TRACEE_DETACHED;
	return 0;
}
