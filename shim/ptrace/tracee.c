/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
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
#include "base/pidfd.h"
#include "base/proc.h"
#include "base/retry.h"
#include "base/utf8.h"
#include "mm/maps.h"
#include "ptrace/same_processor.h"

/* Each takes a bit of the 32768 instructions that a process may have (kernel/seccomp.c, MAX_INSNS_PER_PATH). */
#define FILTERS_MAX 32768

int tracee_lost(struct tracee *tracee, struct error *err)
{
	tracee->state = TRACEE_GONE;
	return error_set(err, REASON_TRACEE_GONE, "process %d has ended", (int)tracee->pid);
}

int tracee_failed(struct tracee *tracee, const char *what, struct error *err)
{
	if (errno == ESRCH)
		return tracee_lost(tracee, err);
	return error_set_errno(err, errno, REASON_PTRACE, "%s of process %d", what, (int)tracee->pid);
}

int tracee_check_proc(struct error *err)
{
	char own[16], shown[16] = "";
	snprintf(own, sizeof own, "%d", (int)getpid());
	if (readlink("/proc/self", shown, sizeof shown - 1) > 0 && strcmp(own, shown) == 0)
		return 0;
	return error_set(err, REASON_NO_PROC,
	                 "/proc shows another PID namespace; mount -t proc proc /proc in this one");
}

int tracee_refused(struct error *err, int errnum, pid_t tid)
{
	char path[64], shown[64];
	uint64_t tracer_pid = 0;
	cleanup_free char *status = proc_status(tid);
	cleanup_free char *name = NULL;
	if (errnum != EPERM || proc_u64(status, "TracerPid", 10, &tracer_pid) < 0 || tracer_pid == 0)
		return error_set_errno(err, errnum, REASON_PTRACE_REFUSED, "cannot trace process %d", (int)tid);
	snprintf(path, sizeof path, "/proc/%" PRIu64 "/comm", tracer_pid);
	if (read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &name, NULL) == 0)
		name[strcspn(name, "\n")] = '\0';
	return error_set(err, REASON_PTRACE_REFUSED,
	                 "%d is traced already, by process %" PRIu64 "%s%s%s; there can be only one tracer", (int)tid,
	                 tracer_pid, name ? " (" : "", name ? text_printable(name, shown, sizeof shown) : "",
	                 name ? ")" : "");
}

int tracee_seize(struct tracee *tracee, pid_t pid, long options, struct error *err)
{
	*tracee = (struct tracee){.pid = pid, .options = options | PTRACE_O_TRACESYSGOOD};
	if (tracee_check_proc(err) < 0) {
		errno = EXDEV; /* nothing that ptrace(2) says of a thread */
		return -1;
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, tracee->options) < 0) {
		int saved_errno = errno;
		tracee_refused(err, saved_errno, pid);
		errno = saved_errno; /* a caller goes by it */
		return -1;
	}
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
	cleanup_free char *status = proc_status(pid);
	uint64_t mode, filters = 0;
	/* The line before that of seccomp(2), which a kernel without it does not have. */
	if (!proc_value(status, "NoNewPrivs"))
		return FILTERS_UNKNOWN;
	if (!proc_value(status, "Seccomp") || (proc_u64(status, "Seccomp", 10, &mode) == 0 && mode == 0))
		return 0;
	if (!proc_value(status, "Seccomp_filters")) /* Linux 5.9 */
		return 1;
	proc_u64(status, "Seccomp_filters", 10, &filters);
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
	return error_set(
	    err, REASON_SECCOMP,
	    "its seccomp filter would see the calls that are needed; run hugexec as root, or enable hugexecd.socket");
}

int tracee_give_processors(struct tracee *tracee)
{
	if (tracee->shares_processor && same_processor_end(tracee->pid) < 0)
		return -1;
	tracee->shares_processor = false;
	return 0;
}

int tracee_get_regs(struct tracee *tracee, struct arch_regs *regs, struct error *err)
{
	struct iovec io = {&regs->gpr, sizeof regs->gpr};
	if (ptrace(PTRACE_GETREGSET, tracee->pid, NT_PRSTATUS, &io) < 0)
		return tracee_failed(tracee, "reading the registers", err);
	if (io.iov_len != sizeof regs->gpr || !arch_is_native(regs))
		return error_set(err, REASON_NOT_NATIVE, "process %d does not run " ARCH_NAME " code",
		                 (int)tracee->pid);
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
		return tracee_failed(tracee, "setting the registers", err);
	return 0;
}

int tracee_set_mask(struct tracee *tracee, uint64_t mask, struct error *err)
{
	if (ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof mask, &mask) < 0)
		return tracee_failed(tracee, "setting the signal mask", err);
	return 0;
}

int tracee_set_options(struct tracee *tracee, long options, struct error *err)
{
	if (ptrace(PTRACE_SETOPTIONS, tracee->pid, 0, options) < 0)
		return tracee_failed(tracee, "setting trace options", err);
	return 0;
}

int tracee_set_exitkill(struct tracee *tracee, bool kills)
{
	return tracee_set_options(tracee, tracee->options | (kills ? PTRACE_O_EXITKILL : 0), NULL);
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

void tracee_kill(struct tracee *tracee)
{
	if (tracee->state != TRACEE_GONE)
		kill(tracee->pid, SIGKILL);
	tracee->state = TRACEE_GONE;
}

int tracee_time_left_ms(const struct tracee *tracee, int most_ms)
{
	int64_t left_ms = (tracee->held_until_us - now_us()) / 1000;
	if (!tracee->held_until_us || left_ms > most_ms)
		return most_ms;
	return left_ms > 0 ? (int)left_ms : 0;
}

int tracee_hold_is_over(const struct tracee *tracee, struct error *err)
{
	return error_set(err, REASON_HOLD_TIMEOUT,
	                 "the limit of %d ms is over; raise hold_timeout or file_timeout in the policy",
	                 (int)((tracee->held_until_us - tracee->held_since_us) / 1000));
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
	cleanup_close int pidfd = pidfd_of(tracee->pid);
	int result = aside(run_errand, errand, tracee_time_left_ms(tracee, INT_MAX), pidfd);
	if (result < 0 && errno == EAGAIN)
		return run_errand(errand);
	if (result < 0 && errno == ETIMEDOUT)
		tracee_hold_is_over(tracee, errand->err);
	else if (result < 0)
		error_set(errand->err, REASON_REMAP, "the process that was to do this was killed");
	return result;
}

int tracee_work_aside(const struct tracee *tracee, int (*work)(void *context, struct error *err), void *context,
                      struct error *err)
{
	struct error *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return error_set_errno(err, errno, REASON_ADDRESS_SPACE_LIMIT, "no memory for a child's answer");
	struct errand errand = {work, context, told};
	int result = run_aside(tracee, &errand);
	if (result != 0 && err)
		*err = *told;
	munmap(told, sizeof *told);
	return result ? -1 : 0;
}

void tracee_detach(struct tracee *tracee)
{
	if (tracee->state == TRACEE_GONE || tracee->state == TRACEE_DETACHED)
		return;
	tracee->state = ptrace(PTRACE_DETACH, tracee->pid, 0, 0) < 0 ? TRACEE_GONE : TRACEE_DETACHED;
}

ssize_t tracee_read(const struct tracee *tracee, uint64_t tracee_addr, void *buf, size_t bytes)
{
	struct iovec local = {buf, bytes};
	struct iovec remote = {(void *)(uintptr_t)tracee_addr, bytes}; // NOLINT(performance-no-int-to-ptr)
	return process_vm_readv(tracee->pid, &local, 1, &remote, 1, 0);
}

#define TOUCHED_AT_ONCE 64

int tracee_touch(const struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t step_bytes)
{
	char read[TOUCHED_AT_ONCE];
	struct iovec remote[TOUCHED_AT_ONCE];
	for (uint64_t at = 0; at < bytes;) {
		size_t count = 0;
		for (; at < bytes && count < TOUCHED_AT_ONCE; at += step_bytes)
			remote[count++] = (struct iovec){(void *)(uintptr_t)(tracee_addr + at),
			                                 1}; // NOLINT(performance-no-int-to-ptr)
		struct iovec local = {read, count};
		if (process_vm_readv(tracee->pid, &local, 1, remote, count, 0) != (ssize_t)count)
			return -1;
	}
	return 0;
}

ssize_t tracee_write(const struct tracee *tracee, uint64_t tracee_addr, const void *buf, size_t bytes)
{
	struct iovec local = {(void *)buf, bytes};
	struct iovec remote = {(void *)(uintptr_t)tracee_addr, bytes}; // NOLINT(performance-no-int-to-ptr)
	return process_vm_writev(tracee->pid, &local, 1, &remote, 1, 0);
}
