#include "ptrace/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/retry.h"
#include "mm/maps.h"
#include "ptrace/rseq.h"
#include "ptrace/syscall_insn.h"

/* Stop signals may interrupt an injected call any number of times; more than this is not an accident. */
#define INTERRUPTED_CALLS_MAX 10000

/* Each takes a bit of the 32768 instructions that a process may have (kernel/seccomp.c, MAX_INSNS_PER_PATH). */
#define FILTERS_MAX 32768

static int lost(struct tracee *tracee, struct error *err)
{
	tracee->state = TRACEE_GONE;
	return error_set(err, "tracee-gone", "process %d has ended", (int)tracee->pid);
}

static int ptrace_failed(struct tracee *tracee, const char *what, struct error *err)
{
	if (errno == ESRCH)
		return lost(tracee, err);
	return error_set_errno(err, errno, "ptrace", "%s of process %d", what, (int)tracee->pid);
}

int tracee_check_proc(struct error *err)
{
	char own[16], shown[16] = "";
	snprintf(own, sizeof own, "%d", (int)getpid());
	if (readlink("/proc/self", shown, sizeof shown - 1) > 0 && strcmp(own, shown) == 0)
		return 0;
	return error_set(err, "no-proc", "/proc is that of another PID namespace");
}

int tracee_seize(struct tracee *tracee, pid_t pid, long options, struct error *err)
{
	*tracee = (struct tracee){.pid = pid, .options = options | PTRACE_O_TRACESYSGOOD};
	if (tracee_check_proc(err) < 0) {
		errno = EXDEV; /* nothing that ptrace(2) says of a thread */
		return -1;
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, tracee->options) < 0)
		return error_set_errno(err, errno, "ptrace-refused", "cannot trace process %d", (int)pid);
	return 0;
}

/* Capabilities in another one do not count. Its number is fixed (PROC_USER_INIT_INO, since Linux 3.8). */
static bool is_initial_user_namespace(void)
{
	struct stat st;
	return stat("/proc/self/ns/user", &st) == 0 && st.st_ino == 0xEFFFFFFDU;
}

bool tracee_may_suspend_seccomp(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0 && syscall(SYS_capget, &header, data) == 0 &&
	       (data[0].effective & (1U << CAP_SYS_ADMIN)) && is_initial_user_namespace();
}

int tracee_filters(pid_t pid)
{
	static const char count_key[] = "\nSeccomp_filters:\t"; /* Linux 5.9 */
	char path[64];
	cleanup_free char *status = NULL;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	/* The line before that of seccomp(2), which a kernel without it does not have. */
	if (read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0 || !strstr(status, "\nNoNewPrivs:\t"))
		return FILTERS_UNKNOWN;
	if (strstr(status, "\nSeccomp:\t0\n") || !strstr(status, "\nSeccomp:\t"))
		return 0;
	const char *count = strstr(status, count_key);
	if (!count)
		return 1;
	unsigned long filters = strtoul(count + sizeof count_key - 1, NULL, 10);
	return filters > 0 && filters <= FILTERS_MAX ? (int)filters : FILTERS_UNKNOWN;
}

int tracee_check_filter(struct tracee *tracee, struct error *err)
{
	int filters = tracee_filters(tracee->pid);
	int known =
	    tracee->known_filters == OWN_FILTERS && filters > 0 ? tracee_filters(getpid()) : tracee->known_filters;
	bool is_told = filters != FILTERS_UNKNOWN && known != FILTERS_UNKNOWN;
	bool is_known = is_told && (filters == 0 || filters <= known);
	/* Without any sign of a new one we take the risk at the last call, rather than stay a zombie. */
	tracee->filter_seen = is_told && !is_known ? FILTER_NEW : FILTER_KNOWN;
	if (tracee->filter_seen == FILTER_NEW && !tracee->suspends_seccomp)
		tracee->suspends_seccomp = tracee_may_suspend_seccomp();
	if (is_known || tracee->suspends_seccomp)
		return 0;
	return error_set(err, "seccomp",
	                 "its seccomp filter would see the calls that are needed, and we may not suspend it");
}

static pid_t wait_for(struct tracee *tracee, int *status)
{
	if (tracee->wait)
		return tracee->wait(tracee, status);
	return retry(waitpid(tracee->pid, status, __WALL));
}

/*
 * Resume with PTRACE_SYSCALL until the next syscall-entry or -exit stop. The only other stops that can come are those
 * of SIGSTOP (nothing else is left unblocked): the signal is delivered, so that the kernel keeps the account of who is
 * stopped, and the group stop that follows is overridden; it takes hold again when we let go (__ptrace_unlink()). And
 * that of a program which another thread has executed: it has the tracee's number then.
 */
static int to_syscall_stop(struct tracee *tracee, struct error *err)
{
	int signal_to_deliver = 0;
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, tracee->pid, 0, (long)signal_to_deliver) < 0)
			return ptrace_failed(tracee, "resuming", err);
		int status;
		if (wait_for(tracee, &status) < 0 || !WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXEC)
			return lost(tracee, err);
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		bool signal_stop = status >> 16 == 0;
		signal_to_deliver = signal_stop ? WSTOPSIG(status) : 0;
	}
}

int tracee_finish_exec(struct tracee *tracee, struct error *err)
{
	if (tracee->state == TRACEE_STOPPED)
		return 0;
	if (to_syscall_stop(tracee, err) < 0)
		return -1;
	tracee->state = TRACEE_STOPPED;
	return 0;
}

int tracee_get_regs(struct tracee *tracee, struct arch_regs *regs, struct error *err)
{
	struct iovec io = {&regs->gpr, sizeof regs->gpr};
	if (ptrace(PTRACE_GETREGSET, tracee->pid, NT_PRSTATUS, &io) < 0)
		return ptrace_failed(tracee, "reading the registers", err);
	if (io.iov_len != sizeof regs->gpr || !arch_is_native(regs))
		return error_set(err, "not-native", "process %d does not run " ARCH_NAME " code", (int)tracee->pid);
	return 0;
}

int tracee_check_native(struct tracee *tracee, struct error *err)
{
	struct arch_regs regs;
	return tracee_get_regs(tracee, &regs, err);
}

int tracee_set_regs(struct tracee *tracee, const struct arch_regs *regs, struct error *err)
{
	struct arch_regs copy = *regs;
	struct iovec io = {&copy.gpr, sizeof copy.gpr};
	if (ptrace(PTRACE_SETREGSET, tracee->pid, NT_PRSTATUS, &io) < 0)
		return ptrace_failed(tracee, "setting the registers", err);
	return 0;
}

static int set_mask(struct tracee *tracee, uint64_t mask, struct error *err)
{
	if (ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof mask, &mask) < 0)
		return ptrace_failed(tracee, "setting the signal mask", err);
	return 0;
}

static int set_options(struct tracee *tracee, long options, struct error *err)
{
	if (ptrace(PTRACE_SETOPTIONS, tracee->pid, 0, options) < 0)
		return ptrace_failed(tracee, "setting trace options", err);
	return 0;
}

int tracee_set_exitkill(struct tracee *tracee, bool kills)
{
	return set_options(tracee, tracee->options | (kills ? PTRACE_O_EXITKILL : 0), NULL);
}

uint64_t tracee_auxv(const struct tracee *tracee, uint64_t type)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/auxv", (int)tracee->pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t auxv[2 * 64];
	ssize_t got = fd < 0 ? -1 : read(fd, auxv, sizeof auxv);
	for (ssize_t i = 0; i + 1 < got / (ssize_t)sizeof auxv[0] && auxv[i] != AT_NULL; i += 2) {
		if (auxv[i] == type)
			return auxv[i + 1];
	}
	return 0;
}

static int find_syscall_insn(struct tracee *tracee, struct error *err)
{
	if (!tracee->syscall_insn_addr)
		tracee->syscall_insn_addr = syscall_insn_find(tracee, tracee_auxv(tracee, AT_SYSINFO_EHDR), err);
	return tracee->syscall_insn_addr ? 0 : -1;
}

void tracee_kill(struct tracee *tracee)
{
	if (tracee->state != TRACEE_GONE)
		kill(tracee->pid, SIGKILL);
	tracee->state = TRACEE_GONE;
}

/* A stop of which nobody has been told is that of a program which another thread has executed (see to_syscall_stop()).
 */
static bool has_been_replaced(const struct tracee *tracee)
{
	int status;
	return tracee->wait && retry(waitpid(tracee->pid, &status, __WALL | WNOHANG)) != 0;
}

/* As the kernel does it for a thread that was interrupted; from here on it cannot run any more without saved_regs. */
static void abort_sequence(struct tracee *tracee)
{
	static const uint64_t none;
	struct registered_sequence sequence;
	registered_find_sequence(tracee, arch_pc(&tracee->saved_regs), &sequence);
	if (sequence.abort_addr &&
	    tracee_write(tracee, sequence.field_addr, &none, sizeof none) == (ssize_t)sizeof none)
		arch_set_pc(&tracee->saved_regs, sequence.abort_addr);
}

int tracee_borrow(struct tracee *tracee, struct error *err)
{
	if (has_been_replaced(tracee))
		return lost(tracee, err);
	if (tracee_get_regs(tracee, &tracee->saved_regs, err) < 0 ||
	    tracee_set_regs(tracee, &tracee->saved_regs, err) < 0 || find_syscall_insn(tracee, err) < 0)
		return -1;
	if (ptrace(PTRACE_GETSIGMASK, tracee->pid, sizeof tracee->saved_mask, &tracee->saved_mask) < 0)
		return ptrace_failed(tracee, "reading the signal mask", err);
	long suspend = tracee->suspends_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0;
	if (set_options(tracee, tracee->options | PTRACE_O_EXITKILL | suspend, err) < 0)
		return -1;
	tracee->state = TRACEE_BORROWED;
	if (set_mask(tracee, UINT64_MAX, err) < 0) {
		/* Nothing but the options was changed, and setting the mask back would be refused, too. */
		if (tracee->state == TRACEE_GONE || set_options(tracee, tracee->options, NULL) < 0)
			tracee_kill(tracee);
		else
			tracee->state = TRACEE_STOPPED;
		return -1;
	}
	if (tracee->wait)
		abort_sequence(tracee);
	fault_point("borrowed");
	return 0;
}

/* One try of one call. *RESULT may come back as a restart code where a stop signal interrupted it. */
static int run_syscall_once(struct tracee *tracee, long nr, const uint64_t args[6], int64_t *result, struct error *err)
{
	struct arch_regs regs = tracee->saved_regs;
	arch_prepare_syscall(&regs, tracee->syscall_insn_addr, nr, args);
	if (tracee_set_regs(tracee, &regs, err) < 0 || to_syscall_stop(tracee, err) < 0 ||
	    to_syscall_stop(tracee, err) < 0 || tracee_get_regs(tracee, &regs, err) < 0) {
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

int64_t tracee_syscall(struct tracee *tracee, struct error *err, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
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

int tracee_return(struct tracee *tracee, struct error *err)
{
	if (tracee->state == TRACEE_GONE)
		return error_set(err, "tracee-gone", "process %d has ended", (int)tracee->pid);
	if (tracee_set_regs(tracee, &tracee->saved_regs, err) < 0 || set_mask(tracee, tracee->saved_mask, err) < 0 ||
	    set_options(tracee, tracee->options, err) < 0) {
		tracee_kill(tracee);
		return -1;
	}
	tracee->state = TRACEE_STOPPED;
	return 0;
}

int tracee_time_left_ms(const struct tracee *tracee, int most_ms)
{
	int64_t left_ms = (tracee->held_until_us - now_us()) / 1000;
	if (!tracee->held_until_us || left_ms > most_ms)
		return most_ms;
	return left_ms > 0 ? (int)left_ms : 0;
}

struct errand {
	int (*work)(void *context, struct error *err);
	void *context;
	struct error *err; /* shared with who waits */
};

static int run_errand(void *context)
{
	const struct errand *errand = context;
	aside_die_with_caller();
	return errand->work(errand->context, errand->err) < 0;
}

/* As aside(), with an error. */
static int run_aside(const struct tracee *tracee, struct errand *errand)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, tracee->pid, 0);
	int result = aside(run_errand, errand, tracee_time_left_ms(tracee, INT_MAX), pidfd);
	if (result < 0 && errno == EAGAIN)
		return run_errand(errand);
	if (result < 0 && errno == ETIMEDOUT)
		error_set(errand->err, "hold-timeout", "held for %d ms, which is the limit",
		          (int)((now_us() - tracee->held_since_us) / 1000));
	else if (result < 0)
		error_set(errand->err, "remap", "the process that was to do this was killed");
	return result;
}

int tracee_work_aside(const struct tracee *tracee, int (*work)(void *context, struct error *err), void *context,
                      struct error *err)
{
	struct error *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return error_set_errno(err, errno, "address-space-limit", "no memory to be told by a child");
	struct errand errand = {work, context, told};
	int result = run_aside(tracee, &errand);
	if (result != 0 && err)
		*err = *told;
	munmap(told, sizeof *told);
	return result ? -1 : 0;
}

void tracee_detach(struct tracee *tracee)
{
	if (tracee->state == TRACEE_GONE || tracee->state == TRACEE_LET_GO)
		return;
	tracee->state = ptrace(PTRACE_DETACH, tracee->pid, 0, 0) < 0 ? TRACEE_GONE : TRACEE_LET_GO;
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

/* Whether the tracee could write to TRACEE_ADDR; true where that cannot be told. */
static bool is_writable(const struct tracee *tracee, uint64_t tracee_addr)
{
	struct image image;
	if (image_read(tracee->pid, &image, NULL) < 0)
		return true;
	ssize_t at = image_find(&image, tracee_addr);
	bool writable = at < 0 || (image.mappings[at].prot & PROT_WRITE);
	image_free(&image);
	return writable;
}

/* With the tracee borrowed: lead it to the entry of its last call, ready to go on alone. */
static int lead_to_last_call(struct tracee *tracee, const struct last_call *last, struct error *err)
{
	/* At the entry of any call number and arguments can still be chosen; getpid is one that nobody filters. */
	struct arch_regs regs = tracee->saved_regs;
	const uint64_t none[6] = {0};
	arch_prepare_syscall(&regs, tracee->syscall_insn_addr, SYS_getpid, none);
	if (tracee_set_regs(tracee, &regs, err) < 0 || to_syscall_stop(tracee, err) < 0)
		return -1;
	fault_point("handoff-entry");
	arch_finish_in_syscall(&regs, &tracee->saved_regs, last->nr, last->args);
	if (tracee_set_regs(tracee, &regs, err) < 0 || set_mask(tracee, tracee->saved_mask, err) < 0)
		return -1;
	fault_point("handoff-set");
	return set_options(tracee, tracee->options, err);
}

int tracee_hand_off(struct tracee *tracee, pid_t tracer_pid, struct error *err)
{
	if (tracee_borrow(tracee, err) < 0)
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
	tracee->state = TRACEE_LET_GO;
	return 0;
}

ssize_t tracee_read(const struct tracee *tracee, uint64_t tracee_addr, void *buf, size_t bytes)
{
	struct iovec local = {buf, bytes};
	struct iovec remote = {(void *)(uintptr_t)tracee_addr, bytes}; // NOLINT(performance-no-int-to-ptr)
	return process_vm_readv(tracee->pid, &local, 1, &remote, 1, 0);
}

ssize_t tracee_write(const struct tracee *tracee, uint64_t tracee_addr, const void *buf, size_t bytes)
{
	struct iovec local = {(void *)buf, bytes};
	struct iovec remote = {(void *)(uintptr_t)tracee_addr, bytes}; // NOLINT(performance-no-int-to-ptr)
	return process_vm_writev(tracee->pid, &local, 1, &remote, 1, 0);
}
