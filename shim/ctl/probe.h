/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - does it work here? Found out by doing it in small, not from version numbers: distributions switch these
 * things on and off, and cgroups, limits and mounts decide with them.
 *
 * Every probe undoes what it did: memory is given back, files have no name, children are reaped. Only doctor probes:
 * explain looks (explain_backing.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum verdict { VERDICT_WORKS, VERDICT_FAILS, VERDICT_UNKNOWN };

struct probe {
	enum verdict verdict;
	char text[400];   /* what was seen */
	char advice[400]; /* the command or setting that would change it; "" if nothing needs to */
};

/* A memfd made huge with MADV_COLLAPSE, mapped as text: the thp backing. */
void probe_thp(struct probe *out);

/* One page of PAGE_BYTES from the hugetlb pool, given back at once: the hugetlb backing. */
void probe_hugetlb(uint64_t page_bytes, struct probe *out);

/*
 * Text of a file in DIRECTORY on huge pages of the page cache: the file backing. Tried with a nameless file of two huge
 * pages, or, if none can be made, with a large file that is there.
 */
void probe_file(const char *directory, struct probe *out);

/* Whether a child may trace us as the tracer of hugexec does its workload. */
void probe_ptrace(struct probe *out);

/*
 * Whether a program waits for its tracer at its entry point (ptrace/entry_stop.h): ourselves, started as a child, which
 * gets no further.
 */
void probe_entry(struct probe *out);

/* Whether /proc is there and shows what the engine reads of a process. */
void probe_proc(struct probe *out);

/* The directory, on this host's mounts, of the cgroup whose hugetlb or memory limits bind us; "" if unknown. */
const char *probe_cgroup_directory(const char *controller, char *buf, unsigned buf_bytes);
