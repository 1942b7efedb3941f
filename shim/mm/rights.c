/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/rights.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "base/proc.h"

void rights_own(struct rights *rights)
{
	*rights = (struct rights){.uid = geteuid(), .gid = getegid()};
}

/* The number by KEY with which files are opened: the last of four. */
static bool read_id(const char *status, const char *key, unsigned *id)
{
	const char *value = proc_value(status, key);
	return value && sscanf(value, "%*u %*u %*u %u", id) == 1;
}

static bool read_groups(const char *status, struct rights *rights)
{
	const char *at = proc_value(status, "Groups");
	if (!at)
		return false;
	while (*at >= '0' && *at <= '9' && rights->group_count < RIGHTS_GROUPS_MAX) {
		char *end;
		rights->groups[rights->group_count++] = (gid_t)strtoul(at, &end, 10);
		at = end + (*end == ' ');
	}
	return true;
}

static bool keep_own_groups(struct rights *rights)
{
	int count = getgroups(0, NULL);
	if (count < 0 || !(rights->own_groups = calloc((size_t)count + 1, sizeof rights->own_groups[0])))
		return false;
	count = getgroups(count, rights->own_groups);
	rights->own_group_count = count < 0 ? 0 : (size_t)count;
	return count >= 0;
}

int rights_parse(const char *status, struct rights *rights)
{
	*rights = (struct rights){0};
	if (!read_id(status, "Uid", &rights->uid) || !read_id(status, "Gid", &rights->gid) ||
	    !read_groups(status, rights))
		return -1;
	rights->is_other = rights->uid != geteuid() || rights->gid != getegid();
	if (!rights->is_other || geteuid() != 0 || keep_own_groups(rights))
		return 0;
	rights_free(rights);
	return -1;
}

void rights_free(struct rights *rights)
{
	free(rights->own_groups);
	rights->own_groups = NULL;
}

bool rights_take(const struct rights *rights)
{
	if (!rights->is_other)
		return true;
	if (rights->own_groups && setgroups(rights->group_count, rights->groups) < 0)
		return false;
	setfsgid(rights->gid);
	setfsuid(rights->uid);
	return true;
}

void rights_give_back(const struct rights *rights)
{
	int saved_errno = errno;
	if (rights->is_other) {
		setfsuid(geteuid());
		setfsgid(getegid());
	}
	if (rights->own_groups)
		setgroups(rights->own_group_count, rights->own_groups);
	errno = saved_errno;
}
