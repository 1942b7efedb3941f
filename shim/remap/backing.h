/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backing.h - where a private copy of text comes from: hugetlb pages or transparent huge pages, both in a memfd.
 *
 * A memfd, because it can be mapped read+exec without ever being writable there, because it can be sealed so that the
 * copy never changes again, and because nothing has to be written through the tracee. Memory is charged to the cgroup
 * of whoever takes it. For the exec shim that is the tracer, whose cgroup is the workload's own; a tracer that came
 * from elsewhere (tracee.charges_itself) has the tracee take it, by
 * allocate_open() or allocate_mapped().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"

struct backing_copy {
	enum backing backing;
	/* memfd_create(2) flags for pages of PAGE_BYTES. */
	unsigned (*memfd_flags)(uint64_t page_bytes);
	/* Would BYTES fit? Asks the pool and the limits that PID is under; takes nothing. Returns 0, or -1 with ERR. */
	int (*check)(pid_t pid, uint64_t bytes, const struct settings *settings, struct error *err);
	/* Give the empty MEMFD its size of BYTES, and its pages if that can be done at once. Returns 0, or -1 with
	 * ERR. */
	int (*allocate)(int memfd, pid_t pid, uint64_t bytes, uint64_t page_bytes, struct error *err);
	/*
	 * The same by TRACEE (INJECTING), all of the memfd's pages, so that nothing is left to allocate: either while
	 * it has the memfd, which has its size already, open as TRACEE_FD, when no other thread of it runs; or later,
	 * through its mapping at ASIDE_ADDR. The other one is NULL. Returns 0, or -1 with ERR.
	 */
	int (*allocate_open)(struct tracee *tracee, uint64_t tracee_fd, uint64_t bytes, uint64_t page_bytes,
	                     struct error *err);
	int (*allocate_mapped)(struct tracee *tracee, uint64_t aside_addr, uint64_t bytes, struct error *err);
	/* Make the fresh shared writable mapping WINDOW of BYTES ready to be filled, on huge pages. Returns 0, or -1
	 * with ERR. */
	int (*open_window)(void *window, uint64_t bytes, struct error *err);
	/* Whether this kernel can move a mapping of pages of PAGE_BYTES. NULL: it can. */
	bool (*can_move)(uint64_t page_bytes);
};

/* How large a page is that SETTINGS ask for of the hugetlb pool. */
uint64_t hugetlb_page_bytes(const struct settings *settings);

extern const struct backing_copy backing_hugetlb;
extern const struct backing_copy backing_thp;
