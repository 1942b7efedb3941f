/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64.h - all that the engine knows of this processor: registers, the system call instruction, the user's part of
 * the address space. A port is one more header with these names (see arch.h).
 */
#pragma once

#include <elf.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

#define ARCH_NAME        "x86-64"
#define ARCH_ELF_MACHINE EM_X86_64
#define ARCH_ELF_DATA    ELFDATA2LSB
#define ARCH_AUDIT       AUDIT_ARCH_X86_64
#define ARCH_USER_TOP \
	UINT64_C(0x7ffffffff000) /* end of the lower half with 4-level tables; what exec hands out is below */

/* Linkers put no program at a fixed address below this by default (0x400000), and ld.so nothing. */
#define ARCH_LOADED_ABOVE UINT64_C(0x200000)

/* The flag of mmap(2) that asks for an address that fits 32 bits. */
#define ARCH_MAP_LOW MAP_32BIT

/* No mapping of text says which branches may lead there (the kernel has no IBT for programs). */
#define ARCH_PROT_GUARD 0
static inline bool arch_guards_branches(void)
{
	return false;
}

/* A program that runs can be changed: the kernel leaves it to the registers which call was cut short. */
#define ARCH_ATTACHES true

/* Nothing is found at the start of a program in the register that a call's result goes to. */
#define ARCH_RESULT_IS_SEEN false

/*
 * Where programs are moved to, [lowest, highest), wherever the highest mapping ends: above what the address sanitizer
 * keeps for its shadow (up to 0x10007fff8000), above Go's and Java's heaps, and below the 4 TiB at 0x500000000000 that
 * the leak and address sanitizers' allocator takes without asking (LLVM, kAllocatorSpace), with room for a program that
 * begins right below. 48 TiB are 2^24.6 steps of 2 MiB.
 */
static inline void arch_move_range(uint64_t highest_addr, uint64_t *lowest, uint64_t *highest)
{
	(void)highest_addr;
	*lowest = UINT64_C(0x200000000000);
	*highest = UINT64_C(0x4ff000000000);
}

struct arch_regs {
	struct user_regs_struct gpr;
};

/* `syscall`, as it stands in the vDSO and in every libc. */
static const uint8_t arch_syscall_insn[] = {0x0f, 0x05};
#define ARCH_INSN_ALIGN 1

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

/* Call WORK(CONTEXT) with the stack that ends at TOP, a multiple of 16; back on ours it returns what that does. */
static inline int arch_call_on_stack(int (*work)(void *), void *context, void *top)
{
	long result;
	__asm__ volatile("mov %%rsp, %%rbx\n\t"
	                 "mov %[top], %%rsp\n\t"
	                 "call *%[work]\n\t"
	                 "mov %%rbx, %%rsp"
	                 : "=a"(result), "+D"(context)
	                 : [top] "r"(top), [work] "r"(work)
	                 : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2",
	                   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
	                   "xmm14", "xmm15");
	return (int)result;
}

/* A native 64-bit task, not a 32-bit one: what CS selects decides (0x33 is __USER_CS, arch/x86/include/asm/segment.h).
 */
static inline bool arch_is_native(const struct arch_regs *regs)
{
	return regs->gpr.cs == 0x33;
}

static inline void arch_set_first_arg(struct arch_regs *regs, uint64_t arg)
{
	regs->gpr.rdi = arg;
}

/* The same at the exit of a call: where the argument was, whoever called finds it again. */
static inline void arch_put_back_first_arg(struct arch_regs *regs, uint64_t arg)
{
	arch_set_first_arg(regs, arg);
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
 * At the entry stop of NR, called with ARGS: let the call go on, and come back to user mode with everything else as in
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

/* ld.so jumps to the entry point through a register, which the program finds: it is to be the address that is meant. */
static inline void arch_replace_address(struct arch_regs *regs, uint64_t from_addr, uint64_t to_addr)
{
	__typeof__(regs->gpr.rax) *const found[] = {
	    &regs->gpr.rax, &regs->gpr.rbx, &regs->gpr.rcx, &regs->gpr.rsi, &regs->gpr.rdi,
	    &regs->gpr.rbp, &regs->gpr.r8,  &regs->gpr.r9,  &regs->gpr.r10, &regs->gpr.r11,
	    &regs->gpr.r12, &regs->gpr.r13, &regs->gpr.r14, &regs->gpr.r15,
	};
	for (unsigned i = 0; i < sizeof found / sizeof found[0]; i++) {
		if (*found[i] == from_addr)
			*found[i] = to_addr;
	}
}

/*
 * What a program runs instead of its entry point until its tracer has come (entry_stop.h): code, and behind it what it
 * is about. Of the registers it uses those in which a program finds nothing that it may rely on at its entry point
 * (System V ABI), and flags.
 */
struct arch_entry_stub {
	uint8_t code[128];
	uint64_t entry_addr;
	uint64_t slot_addr; /* of AT_ENTRY's value */
	uint32_t tracer;    /* the tracer's number; nobody waits any more if the bits of FUTEX_TID_MASK are 0 */
	uint32_t zombie;    /* the child that is reaped then; 0: none */
};

/* Where in the code it is reaped, with everything else done. */
#define ARCH_STUB_REAP_OFF 0x38

static inline void arch_make_entry_stub(struct arch_entry_stub *stub, uint64_t entry_addr, uint64_t slot_addr)
{
	static const uint8_t code[] = {
	    0xf3, 0x0f, 0x1e, 0xfa,                                     /* start: endbr64 */
	    0x48, 0x8b, 0x0d, 0x7d, 0x00, 0x00, 0x00,                   /* mov slot_addr(%rip), %rcx */
	    0x48, 0x8d, 0x05, 0xee, 0xff, 0xff, 0xff,                   /* lea start(%rip), %rax */
	    0x48, 0x39, 0x01,                                           /* cmp %rax, (%rcx) */
	    0x75, 0x21,                                                 /* jne out: nobody waits */
	    0x48, 0x8b, 0x05, 0x62, 0x00, 0x00, 0x00,                   /* mov entry_addr(%rip), %rax */
	    0x48, 0x89, 0x01,                                           /* mov %rax, (%rcx) */
	    0xb9, 0x00, 0x00, 0x00, 0x01,                               /* mov $0x1000000, %ecx */
	    0xf7, 0x05, 0x60, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0x3f, /* spin: testl $0x3fffffff, tracer(%rip) */
	    0x74, 0x06,                                                 /* je out */
	    0xf3, 0x90,                                                 /* pause: 40 to 140 cycles, older ones 10 */
	    0xff, 0xc9,                                                 /* dec %ecx */
	    0x75, 0xee,                                                 /* jne spin */
	    0xf7, 0x05, 0x4e, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0x3f, /* out: testl $0x3fffffff, tracer(%rip) */
	    0x75, 0x27,                                                 /* jne go */
	    0x8b, 0x35, 0x4a, 0x00, 0x00, 0x00,                         /* mov zombie(%rip), %esi */
	    0x85, 0xf6,                                                 /* test %esi, %esi */
	    0x74, 0x1d,                                                 /* je go */
	    0x49, 0x89, 0xd1,                                           /* mov %rdx, %r9: to be called at exit */
	    0xb8, 0xf7, 0x00, 0x00, 0x00,                               /* mov $SYS_waitid, %eax */
	    0xbf, 0x01, 0x00, 0x00, 0x00,                               /* mov $P_PID, %edi */
	    0x31, 0xd2,                                                 /* xor %edx, %edx */
	    0x41, 0xba, 0x04, 0x00, 0x00, 0x40,                         /* mov $(WEXITED | __WALL), %r10d */
	    0x45, 0x31, 0xc0,                                           /* xor %r8d, %r8d */
	    0x0f, 0x05,                                                 /* syscall */
	    0x4c, 0x89, 0xca,                                           /* mov %r9, %rdx */
	    0xff, 0x25, 0x0f, 0x00, 0x00, 0x00,                         /* go: jmp *entry_addr(%rip) */
	};
	memcpy(stub->code, code, sizeof code);
	stub->entry_addr = entry_addr;
	stub->slot_addr = slot_addr;
}
