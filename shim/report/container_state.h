/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report/container_state.h - which container, and which pod, a process on this host belongs to.
 *
 * The hook leaves a record of each container whose text it has remapped, `hugexecctl status` reads them. One small JSON
 * file a container, ID.PID.START in RECORD_DIRECTORY, where PID and START (field 22 of /proc/PID/stat) are those of the
 * container's init. That pair never comes back before the host boots anew, and /run does not outlive a boot: whether a
 * record is stale can be told from its name, removing it can't hit a newer one, and nobody needs a lock. So everybody
 * who comes by removes stale records: the next container, the poststop hook, the status.
 *
 * Names are what an engine or annotations say: any text, and only shown.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"

#define RECORD_DIRECTORY  "/run/hugexec/containers" /* 0700, root's */
#define RECORD_NAME_BYTES 256                       /* Kubernetes allows names of 253 characters; longer are cut */
#define RECORD_ID_MAX     200                       /* characters; the runtimes' own are at most 64 or 76 */

struct record {
	char id[RECORD_ID_MAX + 1];
	pid_t init_pid;
	uint64_t init_start; /* clock ticks after boot */
	uint64_t mount_ns;   /* inode of the container's mount namespace; 0: it is not its own */
	/* "" if it is not known */
	char pod_namespace[RECORD_NAME_BYTES], pod[RECORD_NAME_BYTES], name[RECORD_NAME_BYTES],
	    image[RECORD_NAME_BYTES];
};

struct records {
	struct record *list;
	size_t count;
};

/*
 * Leave a record in DIRECTORY, which is made if it is missing, that INIT_PID is the init of container ID; remove
 * stale ones. Idempotent. Returns 0, or -1 with ERR word "record" and nothing left behind.
 */
int record_write(const char *directory, const char *id, pid_t init_pid, const struct container_attrs *attrs,
                 struct error *err);

/* Remove the records of containers whose init has ended (a zombie has). If there is no DIRECTORY, nothing. */
void record_sweep(const char *directory);

/*
 * The records of containers that run, as far as they may be read (records_free() them); stale ones are removed if
 * the caller may do that. Never fails: without DIRECTORY, or memory, there are none.
 */
void records_read(const char *directory, struct records *out);

/* The container of PID: the one in whose mount namespace it is. NULL: none that left a record, or it has ended. */
const struct record *records_find(const struct records *records, pid_t pid);

/* "namespace/pod/name" as far as known, or the first characters of the id, fit for a terminal. Returns BUF. */
const char *record_label(const struct record *record, char *buf, size_t buf_bytes);

void records_free(struct records *records);
