/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - which uid a user's name has.
 *
 * /etc/passwd is read here. All other sources of the name service (nsswitch.conf(5)) may be servers that do not answer,
 * and their libraries anybody's code, so a child asks them.
 */
#pragma once

#include <sys/types.h>

/*
 * Look NAME up, TIMEOUT_MS at most. Returns 1 with *UID; 0 if there is no such user; -1 if nobody could tell in
 * time, or no child can be started.
 */
int host_user(const char *name, int timeout_ms, uid_t *uid);
