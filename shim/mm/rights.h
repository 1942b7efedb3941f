/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.h - open files with the rights of a process: those of its user, its group and its supplementary groups.
 *
 * Root that takes a user's has none of its own any more, neither capabilities over files nor what its own groups may
 * read. Who has the process' rights already makes no call: a seccomp filter might kill for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RIGHTS_GROUPS_MAX 64 /* of more the rest has no say, which opens less */

struct rights {
	uid_t uid; /* as the kernel compares it with a file's */
	gid_t gid;
	gid_t groups[RIGHTS_GROUPS_MAX];
	size_t group_count;
	bool is_other;     /* others than ours */
	gid_t *own_groups; /* to be put back; NULL: we may not change them, and have none that root has */
	size_t own_group_count;
};

/* Ours. */
void rights_own(struct rights *rights);

/* Those that STATUS, the text of /proc/PID/status, tells of. Returns 0 (rights_free() it), or -1. */
int rights_parse(const char *status, struct rights *rights);

void rights_free(struct rights *rights);

/* Take them for a moment. Returns false, with errno, if that is refused; rights_give_back() in any case. Keeps errno.
 */
bool rights_take(const struct rights *rights);
void rights_give_back(const struct rights *rights);
