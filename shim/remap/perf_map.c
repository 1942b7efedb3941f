/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/perf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/open_in_root.h"
#include "base/proc.h"
#include "mm/rights.h"
#include "sandbox/elf/elf_client.h"

/* Whose file it is to be, and its name. */
struct owner {
	struct rights rights;
	char name[32];
};

/* The innermost namespace's PID is the last of all. rights_free() the owner's. */
static int read_owner(pid_t pid, struct owner *out)
{
	cleanup_free char *status = proc_status(pid);
	uint64_t inner_pid;
	if (proc_last_u64(status, "NStgid", &inner_pid) < 0 || rights_parse(status, &out->rights) < 0)
		return -1;
	snprintf(out->name, sizeof out->name, "perf-%" PRIu64 ".map", inner_pid);
	return 0;
}

/* The workload's /tmp, wherever its links lead inside its root, and never out of it. */
static int open_folder(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
	cleanup_close int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -1 : open_in_root(root, "tmp", O_PATH | O_DIRECTORY);
}

static bool is_own_file(const struct stat *st, const struct owner *owner)
{
	return S_ISREG(st->st_mode) && st->st_uid == owner->rights.uid && st->st_nlink == 1;
}

/* Create the file, in the place of one that an earlier process of this number and user has left. */
static int create(int folder, const struct owner *owner)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;
	int fd = openat(folder, owner->name, flags, 0600);
	if (fd < 0 && errno == EEXIST && fstatat(folder, owner->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		if (is_own_file(&st, owner) && unlinkat(folder, owner->name, 0) == 0)
			fd = openat(folder, owner->name, flags, 0600);
	}
	if (fd >= 0)
		fchmod(fd, 0600); /* whatever the umask takes away */
	return fd;
}

/* The file that create() has made. Only the workload itself can have put another one there since. */
static int reopen(int folder, const struct owner *owner)
{
	struct stat st;
	int fd = openat(folder, owner->name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !is_own_file(&st, owner))) {
		close(fd);
		errno = EEXIST;
		return -1;
	}
	return fd;
}

/* With the workload's rights: a tracer that is root may create files where the workload may not. */
static int open_map(int folder, const struct owner *owner, bool add)
{
	int fd = -1;
	if (rights_take(&owner->rights))
		fd = add ? reopen(folder, owner) : create(folder, owner);
	rights_give_back(&owner->rights);
	return fd;
}

struct writer {
	const struct plan *plan;
	FILE *map;
};

/* The parts of a function that are in pieces of the plan are where those pieces are mapped. */
static int write_symbol(const struct elf_symbol *symbol, void *context)
{
	const struct writer *writer = context;
	for (unsigned i = 0; i < writer->plan->piece_count; i++) {
		const struct plan_piece *piece = &writer->plan->pieces[i];
		uint64_t from = symbol->file_off, to = symbol->file_off + symbol->bytes;
		uint64_t piece_to = piece->file_off + (piece->end - piece->start);
		if (from < piece->file_off)
			from = piece->file_off;
		if (to > piece_to)
			to = piece_to;
		if (from < to && fprintf(writer->map, "%" PRIx64 " %" PRIx64 " %s\n",
		                         piece->start + (from - piece->file_off), to - from, symbol->name) < 0)
			return -1;
	}
	return 0;
}

static int write_owned(pid_t pid, const struct owner *owner, const struct plan *plan, int text_fd, bool add,
                       int timeout_ms, struct error *err)
{
	struct error unread = {0};
	cleanup_close int folder = open_folder(pid);
	if (folder < 0)
		return error_set_errno(err, errno, REASON_PERF_MAP, "the workload's /tmp");
	int fd = open_map(folder, owner, add);
	if (fd < 0)
		return error_set_errno(err, errno, REASON_PERF_MAP, "/tmp/%s", owner->name);
	struct writer writer = {plan, fdopen(fd, "w")};
	if (!writer.map) {
		close(fd);
		return error_set_errno(err, ENOMEM, REASON_PERF_MAP, "/tmp/%s", owner->name);
	}
	int result = elf_read_symbols(text_fd, timeout_ms, write_symbol, &writer, &unread);
	bool is_written = !ferror(writer.map);
	if (fclose(writer.map) != 0 || !is_written)
		return error_set(err, REASON_PERF_MAP, "/tmp/%s could not be written to its end", owner->name);
	return result < 0 ? error_set(err, REASON_PERF_MAP, "%s", unread.detail) : 0;
}

int perf_map_write(pid_t pid, const struct plan *plan, int text_fd, bool add, int timeout_ms, struct error *err)
{
	struct owner owner;
	if (read_owner(pid, &owner) < 0)
		return error_set(err, REASON_PERF_MAP, "the workload's ids cannot be read");
	int result = write_owned(pid, &owner, plan, text_fd, add, timeout_ms, err);
	rights_free(&owner.rights);
	return result;
}
