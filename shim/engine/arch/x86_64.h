/*
 * x86_64.h - all that the engine knows of this processor: registers, the syscall instruction, syscall numbers by name.
 * A port is one more header with these names (see arch.h).
 */
#pragma once

#include <elf.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

#define ARCH_NAME        "x86-64"
#define ARCH_ELF_MACHINE EM_X86_64
#define ARCH_USER_TOP \
	UINT64_C(0x7ffffffff000) /* end of the lower half with 4-level tables; what exec hands out is below */

struct arch_regs {
	struct user_regs_struct gpr;
};

/* `syscall`, as it stands in the vDSO and in every libc. */
static const uint8_t arch_syscall_insn[] = {0x0f, 0x05};

static inline uint64_t arch_pc(const struct arch_regs *regs)
{
	return regs->gpr.rip;
}

static inline void arch_set_pc(struct arch_regs *regs, uint64_t tracee_addr)
{
	regs->gpr.rip = tracee_addr;
}

static inline uint64_t arch_stack(const struct arch_regs *regs)
{
	return regs->gpr.rsp;
}

static inline int64_t arch_result(const struct arch_regs *regs)
{
	return (int64_t)regs->gpr.rax;
}

/* A native 64-bit task, not a 32-bit one: what CS selects decides (0x33 is __USER_CS, arch/x86/include/asm/segment.h).
 */
static inline bool arch_is_native(const struct arch_regs *regs)
{
	return regs->gpr.cs == 0x33;
}

static inline void arch_set_args(struct arch_regs *regs, const uint64_t args[6])
{
	regs->gpr.rdi = args[0];
	regs->gpr.rsi = args[1];
	regs->gpr.rdx = args[2];
	regs->gpr.r10 = args[3];
	regs->gpr.r8 = args[4];
	regs->gpr.r9 = args[5];
}

/*
 * Make REGS run system call NR at the syscall instruction at INSN_ADDR. orig_rax -1 tells the kernel that the stop
 * which we leave is not a system call of its own, so that it restarts nothing (arch/x86/kernel/signal.c).
 */
static inline void arch_prepare_syscall(struct arch_regs *regs, uint64_t insn_addr, long nr, const uint64_t args[6])
{
	regs->gpr.rip = insn_addr;
	regs->gpr.rax = (unsigned long long)nr;
	regs->gpr.orig_rax = (unsigned long long)-1;
	arch_set_args(regs, args);
}

/*
 * At a syscall-entry stop: let the call go on as NR with ARGS, and come back to user mode with everything else as in
 * FINAL. The kernel reads number and arguments from these registers after the stop, writes only the result on return,
 * and takes the slow way back (IRET), which restores rcx and r11 too, because rcx is not rip.
 */
static inline void arch_finish_in_syscall(struct arch_regs *regs, const struct arch_regs *final, long nr,
                                          const uint64_t args[6])
{
	*regs = *final;
	regs->gpr.orig_rax = (unsigned long long)nr;
	regs->gpr.rax = (unsigned long long)-38; /* -ENOSYS: as the kernel enters a call */
	arch_set_args(regs, args);
}

/*
 * The argument of waitid() that shares its register (rdx) with what ld.so hands to the program: the function to be
 * called at exit (System V ABI, process initialization). It points to code, so that the kernel reaps, fails to write
 * there with EFAULT, and the register keeps its value. At the exit of execve it is 0.
 */
static inline uint64_t arch_kept_argument(const struct arch_regs *regs)
{
	return regs->gpr.rdx;
}

/*
 * Which argument of system call NR is the path that it executes, -1 where it executes nothing. AUDIT_ARCH tells by
 * which entry it came, with numbers of its own: a 64-bit program can make 32-bit calls, too (arch/x86/entry/syscalls/).
 */
static inline int arch_exec_path_argument(uint32_t audit_arch, uint64_t nr)
{
	enum { I386_EXECVE = 11, I386_EXECVEAT = 358, X32_EXECVE = 520, X32_EXECVEAT = 545, X32_BIT = 0x40000000 };
	if (audit_arch == AUDIT_ARCH_I386)
		return nr == I386_EXECVE ? 0 : nr == I386_EXECVEAT ? 1 : -1;
	if (nr & X32_BIT)
		return nr == (X32_EXECVE | X32_BIT) ? 0 : nr == (X32_EXECVEAT | X32_BIT) ? 1 : -1;
	return nr == SYS_execve ? 0 : nr == SYS_execveat ? 1 : -1;
}

/* Debug register 0 and its enable bit in 7: break on execution (Intel SDM volume 3, debug registers). */
static inline long arch_set_breakpoint(pid_t pid, uint64_t tracee_addr)
{
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), tracee_addr) < 0)
		return -1;
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1);
}

static inline long arch_clear_breakpoint(pid_t pid)
{
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0) < 0)
		return -1;
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), 0);
}
