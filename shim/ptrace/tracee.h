/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracee.h - a process that the caller traces: seize it, read and write its registers and memory, detach. inject.h runs
 * system calls in it, syscall_stop.h waits for it.
 *
 * A tracee is one thread that the calling process traces with PTRACE_SEIZE. Its life here:
 *
 *   tracee_seize()            RUNNING
 *   PTRACE_EVENT_EXEC         IN_EXEC      still inside execve: its result is written over the registers on return
 *   tracee_finish_exec()      STOPPED      at the system call's exit: registers are ours to change
 *                                          (stop_threads.h leads there, too, from a stop anywhere in a running program)
 *   inject_begin()            INJECTING    registers saved, all signals blocked, PTRACE_O_EXITKILL set
 *   remote_syscall() ...      INJECTING
 *   inject_end()              STOPPED      registers and mask as they were, EXITKILL off
 *   tracee_detach() or
 *   tracee_hand_off()         DETACHED
 *   any of them               GONE         the tracee was killed or has exited: nothing more can be done or undone
 *
 * While the state is INJECTING, its registers are borrowed, and the death of the tracer kills the tracee. In any other
 * state the tracee just runs on. The functions here leave each byte of its memory as it was, except for what
 * tracee_write() is asked for, and for the word of a restartable sequence that inject_begin() aborts in a program that
 * runs (rseq.h).
 */
#pragma once

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"
#include "base/error.h"

enum tracee_state { TRACEE_RUNNING, TRACEE_IN_EXEC, TRACEE_STOPPED, TRACEE_INJECTING, TRACEE_DETACHED, TRACEE_GONE };

/* What waitpid(2) tells of a stop: its signal at a system call (PTRACE_O_TRACESYSGOOD), and an event of PTRACE_SEIZE.
 */
#define SYSCALL_STOP (SIGTRAP | 0x80)
#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

#define OWN_FILTERS (-1)

struct tracee {
	pid_t pid;
	enum tracee_state state;
	long options;          /* PTRACE_O_* in force when the state is not INJECTING */
	bool suspends_seccomp; /* while INJECTING, no seccomp filter of the tracee's sees its calls */
	/*
	 * The number of seccomp filters under which the injected calls have been tried; OWN_FILTERS: the tracer's own.
	 * Filters cannot be removed, so a higher count in /proc means new ones, under which nothing was tried.
	 */
	int known_filters;
	enum { FILTER_UNSEEN, FILTER_KNOWN, FILTER_NEW } filter_seen; /* by tracee_check_filter() */
	bool shares_processor; /* same_processor.h: its affinity is ours to give back */
	bool charges_itself; /* it is in another cgroup than the tracer: it must allocate what is to be charged to it */
	uint64_t syscall_insn_addr; /* syscall_insn.h; 0 until the first inject_begin() */
	/*
	 * stop_threads.h: the process that it is the main thread of, if that ran when it was attached to. Then other
	 * threads run, and one of them may execute a program. NULL: it stands at its exec, or at its entry point, and
	 * no other thread runs.
	 */
	struct running_process *process;
	/*
	 * CLOCK_MONOTONIC, while it is held: since when (what it was held before counts as well), and until when at
	 * most; 0: without a limit.
	 */
	int64_t held_since_us, held_until_us;
	struct arch_regs saved_regs;
	uint64_t saved_mask;           /* kernel sigset: bit N-1 is signal N */
	struct entry_stop *entry_stop; /* entry_stop.h; NULL: it is not to wait at its entry point */
};

/*
 * Whether /proc tells of the processes that our calls are about. After `unshare --pid --fork` without --mount-proc it
 * still shows the namespace outside, where the numbers that we know are those of other processes, or of none. Returns
 * 0, or -1 with ERR word "no-proc".
 */
int tracee_check_proc(struct error *err);

/*
 * ptrace(2) has refused thread TID with ERRNUM: set ERR to "ptrace-refused", which names whoever traces it already, as
 * far as /proc tells. Returns -1.
 */
int tracee_refused(struct error *err, int errnum, pid_t tid);

/*
 * Attach to PID without stopping it, with the ptrace OPTIONS (PTRACE_O_TRACESYSGOOD is always added).
 * Returns 0, or -1 with ERR word "ptrace-refused", or "no-proc" if /proc tells of other processes than ptrace(2).
 */
int tracee_seize(struct tracee *tracee, pid_t pid, long options, struct error *err);

/*
 * Whether the calling process may use suspends_seccomp: PTRACE_O_SUSPEND_SECCOMP takes CAP_SYS_ADMIN in the initial
 * user namespace and a tracer that is under no filter itself (ptrace(2), Linux 4.3).
 */
bool tracee_may_suspend_seccomp(void);

#define FILTERS_UNKNOWN INT_MAX

/*
 * How many seccomp filters PID is under; FILTERS_UNKNOWN if that cannot be told. Before Linux 5.9 it is 1 for any
 * number of them: one that is set later than others is not seen there.
 */
int tracee_filters(pid_t pid);

/*
 * Whether calls can be injected that no unknown seccomp filter sees: it might end the workload for one of them. One
 * that a wrapper or a library has set meanwhile is suspended if we may do that. Returns 0, or -1 with ERR word
 * "seccomp".
 */
int tracee_check_filter(struct tracee *tracee, struct error *err);

/* The registers of a stopped tracee. Returns 0, or -1 with ERR word "not-native", "ptrace" or "tracee-gone". */
int tracee_get_regs(struct tracee *tracee, struct arch_regs *regs, struct error *err);

/* Set the registers of a stopped tracee. Returns 0, or -1 with ERR word "ptrace" or "tracee-gone". */
int tracee_set_regs(struct tracee *tracee, const struct arch_regs *regs, struct error *err);

/* Whether the tracee, STOPPED, runs code that can be borrowed. Returns 0, or -1 with ERR as tracee_get_regs(). */
int tracee_check_native(struct tracee *tracee, struct error *err);

/*
 * Whether the tracer's death is to kill the tracee (any stop), as while it is INJECTING: something of it is changed.
 * Returns 0, or -1.
 */
int tracee_set_exitkill(struct tracee *tracee, bool kills);

/*
 * End a tracee that must not run on: its text, or what has come of a call in it, is not known to be right. It has
 * usually been killed by somebody already: inject_begin() has seen that none of the requests is refused. State after:
 * GONE.
 */
void tracee_kill(struct tracee *tracee);

/* How much of MOST_MS is left until TRACEE is to be let go. */
int tracee_time_left_ms(const struct tracee *tracee, int most_ms);

/* Set ERR to what a tracee is let go for whose time is over: word "hold-timeout" and the limit. Returns -1. */
int tracee_hold_is_over(const struct tracee *tracee, struct error *err);

/*
 * Have a child (base/aside.h) do WORK(CONTEXT), which returns 0, or -1 with ERR, as long as TRACEE may be held, and
 * lives; in place if no child can be started. Returns 0; -1 with ERR: WORK's, or words "hold-timeout",
 * "address-space-limit", or "remap" if the child was killed.
 */
int tracee_work_aside(const struct tracee *tracee, int (*work)(void *context, struct error *err), void *context,
                      struct error *err);

/* Let go of a tracee that is not our parent (or that we may leave a zombie to). State after: DETACHED or GONE. */
void tracee_detach(struct tracee *tracee);

/* Read BYTES at TRACEE_ADDR into BUF. Returns the number of bytes read (less at the end of a mapping), or -1 with
 * errno. */
ssize_t tracee_read(const struct tracee *tracee, uint64_t tracee_addr, void *buf, size_t bytes);

/*
 * Read a byte at TRACEE_ADDR and at each multiple of STEP_BYTES from there, within BYTES: the kernel maps what a fault
 * of the tracee's own would (get_user_pages_remote()). Returns 0, or -1 with errno if not all can be read.
 */
int tracee_touch(const struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t step_bytes);

/* Write BYTES of BUF to TRACEE_ADDR, which must be writable for the tracee itself. Returns as tracee_read(). */
ssize_t tracee_write(const struct tracee *tracee, uint64_t tracee_addr, const void *buf, size_t bytes);

/* The value of auxiliary vector entry TYPE as the kernel keeps it for the tracee; 0 if it is not there. */
uint64_t tracee_auxv(const struct tracee *tracee, uint64_t type);

/*
 * For inject.c and syscall_stop.c: one request each. They return 0, or -1 with ERR word "ptrace", or "tracee-gone" and
 * the state GONE.
 */
int tracee_lost(struct tracee *tracee, struct error *err);
int tracee_failed(struct tracee *tracee, const char *what, struct error *err);
int tracee_set_mask(struct tracee *tracee, uint64_t mask, struct error *err);
int tracee_set_options(struct tracee *tracee, long options, struct error *err);

/* For inject.c and syscall_stop.c: what same_processor.h takes is given back. Returns 0, or -1: the tracee must not
 * run. */
int tracee_give_processors(struct tracee *tracee);
