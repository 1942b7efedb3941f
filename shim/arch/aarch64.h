/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64.h - all that the engine knows of this processor: registers, the system call instruction, the user's part of
 * the address space. The same names as x86_64.h.
 *
 * Kernel facts that this rests on (arch/arm64/kernel, Linux 5.10 to 7.2): at the entry and the exit of a system call
 * the kernel shows a mark of its own in x7, and puts the register back whatever a tracer writes there (ptrace.c), so
 * that neither reading nor writing it does harm. x0 is the first argument and the result; all other registers come back
 * from a call as they were. A call is made again where x0 has one of the results 512 to 516 below zero while the thread
 * leaves the kernel with a signal to look at (do_signal(), signal.c): nothing that we set there is such a number.
 */
#pragma once

#include <elf.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>

#define ARCH_NAME        "arm64"
#define ARCH_ELF_MACHINE EM_AARCH64
#define ARCH_ELF_DATA    ELFDATA2LSB
#define ARCH_AUDIT       AUDIT_ARCH_AARCH64
#define ARCH_USER_TOP    (UINT64_C(1) << 52) /* at most; what exec hands out is below 2^48 */

/* Linkers put no program at a fixed address below this by default (0x400000), and ld.so nothing. */
#define ARCH_LOADED_ABOVE UINT64_C(0x200000)

/* Text for which mmap(2) is told so can be branched to at landing pads only; whether this processor and kernel do that
 * (PROT_BTI, HWCAP2_BTI: Linux 5.8). */
#define ARCH_PROT_GUARD 0x10
static inline bool arch_guards_branches(void)
{
	return getauxval(AT_HWCAP2) & (1UL << 17);
}

/* No flag of mmap(2) asks for an address that fits 32 bits. */
#define ARCH_MAP_LOW 0

/*
 * A program that runs cannot be changed here. A call that a stop cuts short has been rewound before the tracer sees the
 * stop (do_signal()), and how it would have ended with a handler's signal (EINTR, what is left of a sleep) is known to
 * the kernel alone, which forgets it with the first call that we make; and each call would zero the thread's scalable
 * vectors (Documentation/arch/arm64/sve.rst).
 */
#define ARCH_ATTACHES false

/* x0, where a call's result comes to be, is what the program is handed: the function to be called at exit. */
#define ARCH_RESULT_IS_SEEN true

/*
 * Where programs are moved to: [lowest, highest). The kernel and the processor decide how large a program's address
 * space is, from 2^36 to 2^48 (what is above has to be asked for); HIGHEST_ADDR, where its highest mapping ends, tells:
 * the stack's top is less than an eighth below the end. Programs are loaded at two thirds (ELF_ET_DYN_BASE), libraries
 * and stack are above that, the address sanitizer's shadow and the heaps of Go and Java below the half. An eighth of
 * 2^48 has 2^24 steps of 2 MiB.
 */
static inline void arch_move_range(uint64_t highest_addr, uint64_t *lowest, uint64_t *highest)
{
	unsigned bits = 36;
	while (bits < 48 && (highest_addr - 1) >> bits)
		bits++;
	*lowest = UINT64_C(1) << (bits - 1);
	*highest = *lowest + (UINT64_C(1) << (bits - 3));
}

struct arch_regs {
	struct user_regs_struct gpr;
};

/* `svc #0`, as it stands in the vDSO and in every libc. */
static const uint8_t arch_syscall_insn[] = {0x01, 0x00, 0x00, 0xd4};
#define ARCH_INSN_ALIGN 4

/* Of the register of flags: what an indirect branch has left for its target to check, and whether the task is a
 * 32-bit one (arch/arm64/include/uapi/asm/ptrace.h). */
#define ARCH_PSTATE_BTYPE  UINT64_C(0xc00)
#define ARCH_PSTATE_32_BIT UINT64_C(0x10)

static inline uint64_t arch_pc(const struct arch_regs *regs)
{
	return regs->gpr.pc;
}

/* No branch has led there, so that no landing pad (BTI) is asked for. */
static inline void arch_set_pc(struct arch_regs *regs, uint64_t tracee_addr)
{
	regs->gpr.pc = tracee_addr;
	regs->gpr.pstate &= ~ARCH_PSTATE_BTYPE;
}

static inline uint64_t arch_stack(const struct arch_regs *regs)
{
	return regs->gpr.sp;
}

static inline int64_t arch_result(const struct arch_regs *regs)
{
	return (int64_t)regs->gpr.regs[0];
}

/* Call WORK(CONTEXT) with the stack that ends at TOP, a multiple of 16; back on ours it returns what that does. */
static inline int arch_call_on_stack(int (*work)(void *), void *context, void *top)
{
	register void *first __asm__("x0") = context;
	__asm__ volatile("mov x19, sp\n\t"
	                 "mov sp, %[top]\n\t"
	                 "blr %[work]\n\t"
	                 "mov sp, x19"
	                 : "+r"(first)
	                 : [top] "r"(top), [work] "r"(work)
	                 : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
	                   "x15", "x16", "x17", "x18", "x19", "x30", "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5",
	                   "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19",
	                   "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
	return (int)(intptr_t)first;
}

/* A 64-bit task, not a 32-bit one. */
static inline bool arch_is_native(const struct arch_regs *regs)
{
	return !(regs->gpr.pstate & ARCH_PSTATE_32_BIT);
}

static inline void arch_set_first_arg(struct arch_regs *regs, uint64_t arg)
{
	regs->gpr.regs[0] = arg;
}

/* At the exit of a call the result is there. */
static inline void arch_put_back_first_arg(struct arch_regs *regs, uint64_t arg)
{
	(void)regs;
	(void)arg;
}

/* Make REGS run system call NR with ARGS at the instruction at INSN_ADDR. */
static inline void arch_prepare_syscall(struct arch_regs *regs, uint64_t insn_addr, long nr, const uint64_t args[6])
{
	arch_set_pc(regs, insn_addr);
	regs->gpr.regs[8] = (uint64_t)nr;
	for (unsigned i = 0; i < 6; i++)
		regs->gpr.regs[i] = args[i];
}

/*
 * At the entry stop of NR, called with ARGS: let the call go on, and come back to user mode with everything else as in
 * FINAL. The kernel has taken the number; it reads the arguments from these registers after the stop, and writes only
 * the result on return.
 */
static inline void arch_finish_in_syscall(struct arch_regs *regs, const struct arch_regs *final, long nr,
                                          const uint64_t args[6])
{
	*regs = *final;
	regs->gpr.regs[8] = (uint64_t)nr;
	for (unsigned i = 0; i < 6; i++)
		regs->gpr.regs[i] = args[i];
}

/* No argument of waitid() shares a register with what the program is handed, but the first (ARCH_RESULT_IS_SEEN). */
static inline uint64_t arch_kept_argument(const struct arch_regs *regs)
{
	(void)regs;
	return 0;
}

/* ld.so jumps to the entry point through a register, which the program finds: it is to be the address that is meant. */
static inline void arch_replace_address(struct arch_regs *regs, uint64_t from_addr, uint64_t to_addr)
{
	for (unsigned i = 0; i < sizeof regs->gpr.regs / sizeof regs->gpr.regs[0]; i++) {
		if (regs->gpr.regs[i] == from_addr)
			regs->gpr.regs[i] = to_addr;
	}
}

/*
 * What a program runs instead of its entry point until its tracer has come (entry_stop.h): code, and behind it what it
 * is about. Of the registers it uses those in which a program finds nothing that it may rely on at its entry point (x1
 * to x17), and flags. The kernel sees to the instruction cache when it maps the page for the program, which is after it
 * was written (__sync_icache_dcache()).
 */
struct arch_entry_stub {
	uint32_t code[32];
	uint64_t entry_addr;
	uint64_t slot_addr; /* of AT_ENTRY's value */
	uint32_t tracer;    /* the tracer's number; nobody waits any more if the bits of FUTEX_TID_MASK are 0 */
	uint32_t zombie;    /* the child that is reaped then; 0: none */
};

/* Where in the code it is reaped, with everything else done. */
#define ARCH_STUB_REAP_OFF 0x38

static inline void arch_make_entry_stub(struct arch_entry_stub *stub, uint64_t entry_addr, uint64_t slot_addr)
{
	static const uint32_t code[] = {
	    0x10000010, /* start: adr x16, start */
	    0x58000431, /* ldr x17, slot_addr */
	    0xf940022f, /* ldr x15, [x17] */
	    0xeb1001ff, /* cmp x15, x16 */
	    0x54000141, /* b.ne out: nobody waits */
	    0x5800036f, /* ldr x15, entry_addr */
	    0xf900022f, /* str x15, [x17] */
	    0x52a0200f, /* mov w15, #0x1000000 */
	    0x1800038e, /* spin: ldr w14, tracer */
	    0x720075df, /* tst w14, #0x3fffffff */
	    0x54000080, /* b.eq out */
	    0xd5033fdf, /* isb: some 20 cycles and more */
	    0x710005ef, /* subs w15, w15, #1 */
	    0x54ffff61, /* b.ne spin */
	    0x180002ce, /* out: ldr w14, tracer */
	    0x720075df, /* tst w14, #0x3fffffff */
	    0x54000181, /* b.ne go */
	    0x18000281, /* ldr w1, zombie */
	    0x34000141, /* cbz w1, go */
	    0xaa0003e9, /* mov x9, x0: to be called at exit */
	    0xd2800be8, /* mov x8, #SYS_waitid */
	    0xd2800020, /* mov x0, #P_PID */
	    0xd2800002, /* mov x2, #0 */
	    0x52800083, /* mov w3, #(WEXITED | __WALL) */
	    0x72a80003, /* movk w3, #0x4000, lsl #16 */
	    0xd2800004, /* mov x4, #0 */
	    0xd4000001, /* svc #0 */
	    0xaa0903e0, /* mov x0, x9 */
	    0x58000090, /* go: ldr x16, entry_addr */
	    0xd61f0200, /* br x16 */
	};
	memcpy(stub->code, code, sizeof code);
	stub->entry_addr = entry_addr;
	stub->slot_addr = slot_addr;
}
