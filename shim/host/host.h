/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - what this kernel, this cgroup and this pool offer. Reads files below /proc, /sys and the cgroup mounts;
 * changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* A hugetlb pool: /sys/kernel/mm/hugepages/hugepages-*kB. Counts of pages. */
struct hugetlb_pool {
	uint64_t page_bytes;
	uint64_t total, free, reserved, overcommit_left; /* free includes reserved */
};

/* Returns 0, or -1 with errno: ENOENT if the kernel has no pool of PAGE_BYTES. */
int host_hugetlb_pool(uint64_t page_bytes, struct hugetlb_pool *out);

/*
 * How many more bytes PID's memory cgroup, and each cgroup above it that can be seen from here, would take before its
 * hard limit, counting page cache that could be dropped as free. Cgroup v1, hybrid and v2.
 * Returns 0; UINT64_MAX in *OUT_BYTES if there is no limit or none can be seen.
 */
int host_memory_headroom(pid_t pid, uint64_t *out_bytes);

/* The same if hugetlb pages count as memory of the cgroup; else there is no limit. */
int host_hugetlb_memory_headroom(pid_t pid, uint64_t *out_bytes);

/* The same for the hugetlb controller and pages of PAGE_BYTES. */
int host_hugetlb_headroom(pid_t pid, uint64_t page_bytes, uint64_t *out_bytes);

/* What new programs could have without swapping (MemAvailable of proc_meminfo(5)); UINT64_MAX if that is not told.
 */
uint64_t host_memory_available(void);

/*
 * Whether BYTES more memory, charged to PID, can be had without the kernel having to reclaim any: below all its
 * cgroup's limits, and of the machine's. Returns 0, or -1 with ERR word "memory-limit", which says that WHAT needs it.
 */
int host_check_memory(pid_t pid, uint64_t bytes, const char *what, struct error *err);

/* Whether PID has one thread. False if that cannot be told. */
bool host_is_single_threaded(pid_t pid);

/* Whether the calling process may run on more than one processor. */
bool host_has_two_processors(void);

/* Whether PID is PID 1 of its PID namespace. False if that cannot be told. */
bool host_is_init(pid_t pid);

/* The process that thread TID is of, and the parent of that process; 0 if it cannot be told. */
pid_t host_process_of(pid_t tid);
pid_t host_parent_of(pid_t tid);

/* PID's cgroup path as policy matches it: the v2 one, else systemd's v1 one. malloc'ed, NULL if unknown. */
char *host_cgroup_of(pid_t pid);

/* Whether PID is in the same cgroup as we, in every tree. False if that cannot be told. */
bool host_shares_cgroups(pid_t pid);

/* Whether what /proc has for PID under WHAT ("root", "ns/mnt") is the same as for us. False if that cannot be told.
 */
bool host_shares(pid_t pid, const char *what);

/* PID's systemd unit ("foo.service"), told by its cgroup as sd_pid_get_unit(3) does; malloc'ed, NULL if none. */
char *host_unit_of(pid_t pid);

/* Whether the innermost systemd unit that PID is in is a service, the system's or a user's. */
bool host_is_in_service(pid_t pid);

/* The host's machine ID, 32 hexadecimal digits; NULL if /etc/machine-id has none. Read once. */
const char *host_machine_id(void);

/* kernel.yama.ptrace_scope: 0 to 3, or -1 if the kernel has no Yama. */
int host_yama_scope(void);

/* The chosen word of a sysfs switch such as "always [madvise] never", into BUF; "" if the file is not there. */
const char *host_switch(const char *path, char *buf, size_t buf_bytes);
