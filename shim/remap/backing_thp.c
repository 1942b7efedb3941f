/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private copy on transparent huge pages: plain shared memory, made huge before it is filled.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/missing.h"
#include "base/size.h"
#include "host/host.h"
#include "host/pages.h"
#include "ptrace/inject.h"
#include "remap/backing.h"
#include "remap/populate.h"

#define COLLAPSE_TRIES 5
#define SHMEM_SWITCH   "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static unsigned thp_memfd_flags(uint64_t page_bytes)
{
	(void)page_bytes;
	return 0;
}

/*
 * Before Linux 6.1 nobody can order a huge page for shared memory. It comes by a fault, or not, as the administrator
 * says, and is seen to have come before the copy is used (private_copy.c, populate()).
 */
static int check_orders(struct error *err)
{
	char chosen[16];
	if (populate_knows_advice(MADV_COLLAPSE))
		return 0;
	host_switch(SHMEM_SWITCH, chosen, sizeof chosen);
	if (chosen[0] && strcmp(chosen, "never") != 0 && strcmp(chosen, "deny") != 0)
		return 0;
	return error_set(err, REASON_THP_REFUSED,
	                 "this kernel has no MADV_COLLAPSE (Linux 6.1), and transparent_hugepage/shmem_enabled is %s; "
	                 "set that to advise",
	                 chosen[0] ? chosen : "not there");
}

/*
 * Going over a memory limit with small pages wakes the OOM killer, the cgroup's or the machine's, instead of failing,
 * so the limits are asked first.
 */
static int thp_check(pid_t pid, uint64_t bytes, const struct settings *settings, struct error *err)
{
	(void)settings;
	if (check_orders(err) < 0)
		return -1;
	return host_check_memory(pid, bytes, "a copy", err);
}

static int thp_allocate(int memfd, pid_t pid, uint64_t bytes, uint64_t page_bytes, struct error *err)
{
	(void)pid, (void)page_bytes;
	if (ftruncate(memfd, (off_t)bytes) == 0)
		return 0;
	if (errno == EFBIG)
		return error_set(err, REASON_FILE_SIZE_LIMIT, "RLIMIT_FSIZE is below the size of the text; raise it");
	return error_set_errno(err, errno, REASON_THP_REFUSED, "sizing the memfd");
}

/*
 * DISABLED: what prctl(PR_GET_THP_DISABLE) says in the process that asked. Bit 1 beside it spares what was advised to
 * be huge (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18), as a copy is.
 */
static int collapse_ended(int errnum, int64_t disabled, struct error *err)
{
	if (errnum == EINVAL && !populate_knows_advice(MADV_COLLAPSE))
		return 0;
	if (disabled == 1)
		return error_set(err, REASON_THP_REFUSED,
		                 "the process has switched huge pages off for itself (PR_SET_THP_DISABLE)");
	if (errnum == ENOMEM)
		return error_set_errno(err, errnum, REASON_THP_REFUSED, "no huge page could be allocated");
	char chosen[16];
	host_switch(SHMEM_SWITCH, chosen, sizeof chosen);
	if (strcmp(chosen, "deny") == 0)
		return error_set(err, REASON_THP_REFUSED,
		                 "transparent_hugepage/shmem_enabled is deny; set it to never or advise");
	return error_set_errno(err, errnum, REASON_THP_REFUSED, "MADV_COLLAPSE of a memfd");
}

/*
 * One small page in each slot, then MADV_COLLAPSE: of an empty range it is EINVAL, and collapsing nearly empty slots
 * costs half of filling small pages first. If shmem_enabled is "advise" or more the touch brings a huge page at once
 * and the collapse finds nothing to do. EAGAIN says that a page was in use elsewhere for a moment.
 */
static int thp_open_window(void *window, uint64_t bytes, struct error *err)
{
	madvise(window, bytes, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < bytes; i += host_pages()->huge_bytes)
		((volatile char *)window)[i] = 0;
	for (int tries = 0;; tries++) {
		if (madvise(window, bytes, MADV_COLLAPSE) == 0)
			return 0;
		if ((errno != EAGAIN && errno != EBUSY) || tries == COLLAPSE_TRIES)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return collapse_ended(errno, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), err);
}

/* A call that the tracee makes for its copy: *RESULT is the kernel's. -1 if the tracee is lost. */
static int advise_inside(struct tracee *tracee, uint64_t addr, uint64_t bytes, int advice, int64_t *result,
                         struct error *err)
{
	*result = remote_syscall(tracee, err, SYS_madvise, addr, bytes, (uint64_t)advice, 0, 0, 0);
	return *result == INT64_MIN ? -1 : 0;
}

/*
 * As thp_open_window(), of the whole copy. A read fault on a hole of a private mapping takes a page for the file, which
 * is charged to who faults; so is the huge page that a collapse takes for it.
 */
static int thp_allocate_mapped(struct tracee *tracee, uint64_t aside_addr, uint64_t bytes, struct error *err)
{
	int64_t result;
	uint64_t base_bytes = host_pages()->base_bytes;
	if (advise_inside(tracee, aside_addr, bytes, MADV_HUGEPAGE, &result, err) < 0)
		return -1;
	for (uint64_t i = 0; i < bytes; i += host_pages()->huge_bytes) {
		result = populate_read(tracee, aside_addr + i, base_bytes, base_bytes, err);
		if (result == INT64_MIN)
			return -1;
		if (result < 0)
			return error_set_errno(err, (int)-result, REASON_THP_REFUSED, "no page for the copy");
	}
	for (int tries = 0;; tries++) {
		if (advise_inside(tracee, aside_addr, bytes, MADV_COLLAPSE, &result, err) < 0)
			return -1;
		if (result == 0)
			return 0;
		if ((result != -EAGAIN && result != -EBUSY) || tries == COLLAPSE_TRIES)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	int64_t disabled = remote_syscall(tracee, err, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0, 0);
	return disabled == INT64_MIN ? -1 : collapse_ended((int)-result, disabled, err);
}

const struct backing_copy backing_thp = {
    .backing = BACKING_THP,
    .memfd_flags = thp_memfd_flags,
    .check = thp_check,
    .allocate = thp_allocate,
    .allocate_mapped = thp_allocate_mapped,
    .open_window = thp_open_window,
};
