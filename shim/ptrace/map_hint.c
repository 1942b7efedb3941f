/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/map_hint.h"

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/missing.h"
#include "host/pages.h"
#include "mm/mapped_file.h"
#include "mm/maps.h"

/* Whether the kernel aligns large mappings of FD: two that would lie beside each other otherwise, and not a slot apart.
 */
static bool is_aligned(int fd)
{
	const struct page_sizes *pages = host_pages();
	const uint64_t bytes[] = {2 * pages->huge_bytes, 2 * pages->huge_bytes - pages->base_bytes};
	void *at[] = {MAP_FAILED, MAP_FAILED};
	bool aligned = true;
	for (int i = 0; i < 2; i++) {
		at[i] = mmap(NULL, bytes[i], PROT_READ, MAP_PRIVATE, fd, 0);
		aligned &= at[i] == MAP_FAILED || (uintptr_t)at[i] % pages->huge_bytes == 0;
	}
	for (int i = 0; i < 2; i++) {
		if (at[i] != MAP_FAILED)
			munmap(at[i], bytes[i]);
	}
	return aligned;
}

void map_hint_begin(const struct tracee *tracee, bool is_wanted, struct map_hint *hint)
{
	struct address_space space;
	*hint = (struct map_hint){0};
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return;
	ssize_t loader = space.interp_addr ? address_space_find(&space, space.interp_addr) : -1;
	if (loader >= 0) {
		const struct mapping *first = &space.mappings[loader];
		cleanup_close int fd = is_wanted ? -1 : mapped_file_open(tracee->pid, first, false, NULL);
		hint->watches = is_wanted || (fd >= 0 && !is_aligned(fd));
		hint->loader_start = first->start;
		for (size_t i = (size_t)loader; i < space.count && mapping_same_file(&space.mappings[i], first); i++)
			hint->loader_end = space.mappings[i].end;
	}
	address_space_free(&space);
}

/* Whether ARGS, of mmap(2), map a large file at any place. */
static bool is_free_to_lie(const uint64_t args[6])
{
	const struct page_sizes *pages = host_pages();
	const uint64_t bound = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | ARCH_MAP_LOW | MAP_GROWSDOWN;
	return args[0] == 0 && args[1] >= pages->huge_bytes && args[1] < ARCH_USER_TOP &&
	       (args[3] & MAP_TYPE) == MAP_PRIVATE && !(args[3] & bound) && args[5] % pages->base_bytes == 0;
}

/* A place for BYTES from OFFSET on, below all else that lies below ld.so, where the kernel would put it, too. */
static uint64_t find_place(const struct tracee *tracee, const struct map_hint *hint, uint64_t bytes, uint64_t offset)
{
	struct address_space space;
	uint64_t place = 0, huge_bytes = host_pages()->huge_bytes;
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return 0;
	ssize_t loader = address_space_find(&space, hint->loader_start);
	if (loader >= 0)
		place = address_space_find_gap(&space, (size_t)loader, bytes, huge_bytes, offset % huge_bytes);
	address_space_free(&space);
	return place;
}

static int set_first_arg(struct tracee *tracee, void (*set)(struct arch_regs *regs, uint64_t arg), uint64_t arg)
{
	struct arch_regs regs;
	if (tracee_get_regs(tracee, &regs, NULL) < 0)
		return -1;
	set(&regs, arg);
	return tracee_set_regs(tracee, &regs, NULL);
}

static void change(struct tracee *tracee, struct map_hint *hint, const uint64_t args[6])
{
	uint64_t place = find_place(tracee, hint, args[1], args[5]);
	if (!place || tracee_set_exitkill(tracee, true) < 0)
		return;
	hint->saved_arg = args[0];
	hint->is_changed = set_first_arg(tracee, arch_set_first_arg, place) == 0;
	if (!hint->is_changed)
		tracee_set_exitkill(tracee, false);
	fault_point("map-hinted");
}

static void change_back(struct tracee *tracee, struct map_hint *hint)
{
	hint->is_changed = false;
	if (set_first_arg(tracee, arch_put_back_first_arg, hint->saved_arg) < 0 ||
	    tracee_set_exitkill(tracee, false) < 0)
		tracee_kill(tracee);
}

void map_hint_step(struct tracee *tracee, struct map_hint *hint)
{
	struct __ptrace_syscall_info info; /* Linux 5.3 */
	if (hint->is_changed) {
		change_back(tracee, hint);
	} else if (ptrace(PTRACE_GET_SYSCALL_INFO, tracee->pid, sizeof info, &info) <= 0) {
		hint->watches = false;
	} else if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		hint->watches =
		    info.instruction_pointer >= hint->loader_start && info.instruction_pointer < hint->loader_end;
		if (hint->watches && info.arch == ARCH_AUDIT && info.entry.nr == SYS_mmap &&
		    is_free_to_lie(info.entry.args))
			change(tracee, hint, info.entry.args);
	}
}
