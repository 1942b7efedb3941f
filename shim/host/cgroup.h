/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - where a process stands in the cgroup trees, and how much its limits still allow.
 *
 * A tree is what one mount shows: the unified one (v2) or that of one v1 controller. Hosts have one, the other, or
 * both.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The directory of a process in the tree that has a controller. */
struct cgroup_place {
	bool unified;             /* v2: other file names */
	bool counts_hugetlb;      /* v2: hugetlb pages count as memory, too (memory_hugetlb_accounting, Linux 6.6) */
	char mount[512];          /* where the tree is mounted */
	char directory[PATH_MAX]; /* MOUNT plus the process's path below it */
};

/*
 * Find PID's directory in the tree of CONTROLLER ("memory", "hugetlb"): the v1 one if it has a mount, else the
 * unified one. Returns 0, or -1 if no such mount can be seen.
 */
int cgroup_find(pid_t pid, const char *controller, struct cgroup_place *out);

/* The same from the texts of /proc/PID/cgroup and /proc/self/mountinfo: no I/O. */
int cgroup_find_in(const char *cgroup_text, const char *mountinfo_text, const char *controller,
                   struct cgroup_place *out);

/* Room below the memory limits of PLACE and of each directory above it, up to the mount. UINT64_MAX: no limit. */
uint64_t cgroup_memory_headroom(const struct cgroup_place *place);

/* PAGE_BYTES as the hugetlb controller's files have it in their names, "2MB", into BUF (16 bytes are enough). Returns
 * BUF. */
const char *cgroup_page_size(uint64_t page_bytes, char *buf, size_t buf_bytes);

/* The same for hugetlb pages of PAGE_BYTES. */
uint64_t cgroup_hugetlb_headroom(const struct cgroup_place *place, uint64_t page_bytes);
