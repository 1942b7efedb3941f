/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/shared_text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "host/host.h"
#include "host/pages.h"
#include "mm/cow_pages.h"
#include "mm/mapped_file.h"
#include "ptrace/inject.h"
#include "ptrace/tracee_files.h"
#include "remap/backing_file.h"
#include "remap/page_cache.h"
#include "remap/plan_shared.h"
#include "remap/shared_store.h"
#include "remap/widen.h"

static bool uses_file(const struct settings *settings)
{
	for (unsigned i = 0; i < settings->backing_count; i++) {
		if (settings->backing[i] == BACKING_FILE)
			return true;
	}
	return false;
}

/* A text mapping of the file that OBJECT is of, as the index in SPACE; -1: none. */
static ssize_t find_text(const struct address_space *space, const struct mapping *object)
{
	for (size_t i = 0; i < space->count; i++) {
		if (mapping_same_file(&space->mappings[i], object) && mapping_is_text(&space->mappings[i]))
			return (ssize_t)i;
	}
	return -1;
}

/* The slots of COPY are all to be huge in the page cache: small ones would bring nothing, and cost memory. */
static int prepare(const struct tracee *tracee, const struct shared_copy *copy, const struct plan *mapped,
                   const struct settings *settings, struct error *err)
{
	unsigned timeout_ms = (unsigned)tracee_time_left_ms(tracee, (int)settings->file_timeout_ms);
	struct file_range ranges[PLAN_RANGES_MAX];
	uint64_t huge_bytes = 0;
	for (unsigned i = 0; i < mapped->range_count; i++)
		ranges[i] = (struct file_range){mapped->pieces[mapped->ranges[i].first_piece].file_off,
		                                mapped->ranges[i].end - mapped->ranges[i].start};
	if (page_cache_make_huge(copy->fd, ranges, mapped->range_count, timeout_ms, &huge_bytes, err) < 0)
		return -1;
	if (huge_bytes == mapped->range_bytes)
		return 0;
	return error_is_set(err) ? -1 : error_set(err, REASON_FILE_BUSY, "%s is not all on huge pages", copy->path);
}

/* With the tracee borrowed: its descriptor of COPY, or -1 with ERR. PATH_ADDR: where the path stands in its memory. */
static int open_in_tracee(struct tracee *tracee, const struct shared_copy *copy, uint64_t path_addr, struct error *err)
{
	struct stat st;
	int64_t tracee_fd = remote_syscall(tracee, err, SYS_openat, (uint64_t)AT_FDCWD, path_addr,
	                                   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0, 0, 0);
	if (tracee_fd == INT64_MIN)
		return -1;
	if (tracee_fd < 0)
		return error_set_errno(err, (int)-tracee_fd, REASON_SHARED_COPY, "opening %s in the workload",
		                       copy->path);
	cleanup_close int fd = tracee_fetch_fd(tracee->pid, (int)tracee_fd, err);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == copy->st.st_dev && st.st_ino == copy->st.st_ino)
		return (int)tracee_fd;
	remote_syscall(tracee, NULL, SYS_close, (uint64_t)tracee_fd, 0, 0, 0, 0, 0);
	return error_set(err, REASON_SHARED_COPY, "%s is another file in the workload's root", copy->path);
}

static int open_and_map(struct tracee *tracee, const struct address_space *space, const struct shared_copy *copy,
                        const struct plan *mapped, uint64_t path_addr, struct error *err)
{
	if (tracee_write(tracee, path_addr, copy->path, sizeof copy->path) != sizeof copy->path)
		return error_set(err, REASON_SHARED_COPY, "the memory below the stack cannot be written");
	int tracee_fd = open_in_tracee(tracee, copy, path_addr, err);
	if (tracee_fd < 0)
		return -1;
	fault_point("shared-opened");
	int result = map_over(tracee, space, mapped, tracee_fd, false, err);
	if (result < 0)
		err->code = REASON_SHARED_COPY;
	if (tracee->state == TRACEE_INJECTING)
		remote_syscall(tracee, NULL, SYS_close, (uint64_t)tracee_fd, 0, 0, 0, 0, 0);
	return result;
}

/* The memory below its stack holds the path for a moment, and is put back. */
static int map_copy(struct tracee *tracee, const struct address_space *space, const struct shared_copy *copy,
                    const struct plan *mapped, struct error *err)
{
	char before[sizeof copy->path];
	if (inject_begin(tracee, err) < 0)
		return -1;
	uint64_t path_addr = tracee_scratch(tracee, sizeof before);
	int result = -1;
	if (tracee_read(tracee, path_addr, before, sizeof before) != sizeof before) {
		error_set(err, REASON_SHARED_COPY, "the memory below the stack cannot be read");
	} else {
		result = open_and_map(tracee, space, copy, mapped, path_addr, err);
		tracee_write(tracee, path_addr, before, sizeof before);
	}
	if (tracee->state == TRACEE_GONE || inject_end(tracee, err) < 0)
		return -1;
	return result;
}

static int populate_mapped(struct tracee *tracee, const struct plan *mapped, struct error *err)
{
	struct address_space space;
	if (address_space_read(tracee->pid, &space, err) < 0)
		return -1;
	int result = populate_text(tracee, &space, mapped, err);
	address_space_free(&space);
	return result;
}

/* While no other thread runs. What a breakpoint or uprobe has put there is in no copy. */
static int map_alone(struct tracee *tracee, const struct address_space *space, const struct shared_copy *copy,
                     const struct plan *mapped, struct error *err)
{
	for (unsigned i = 0; i < mapped->range_count; i++) {
		if (private_pages_between(tracee->pid, mapped->ranges[i].start, mapped->ranges[i].end))
			return error_set(err, REASON_TEXT_CHANGED,
			                 "its text, or the memory beside it, holds what is not in its file");
	}
	return map_copy(tracee, space, copy, mapped, err);
}

static int map_found(struct tracee *tracee, const struct address_space *space, const struct settings *settings,
                     const struct shared_copy *copy, const struct plan *plan, struct plan *mapped, struct error *err)
{
	struct plan wanted;
	shared_copy_match(&copy->index, plan, &wanted);
	if (wanted.range_count == 0)
		return error_set(err, REASON_SHARED_COPY, "%s does not fit where the text was loaded", copy->path);
	if (prepare(tracee, copy, &wanted, settings, err) < 0)
		return -1;
	fault_point("shared-prepared");
	if (others_stop_around(tracee, space, &wanted, err) < 0)
		return -1;
	int result = map_alone(tracee, space, copy, &wanted, err);
	others_start(tracee);
	if (result < 0)
		return -1;
	fault_point("shared-mapped");
	*mapped = wanted;
	return populate_mapped(tracee, mapped, err);
}

/* In our own root and mounts the copy was opened a moment ago. In others a server may be behind its name, which the
 * tracee, its registers borrowed, would wait for without a limit.
 */
static int check_place(const struct tracee *tracee, struct error *err)
{
	if (host_shares(tracee->pid, "root") && host_shares(tracee->pid, "ns/mnt"))
		return 0;
	return error_set(err, REASON_SHARED_COPY,
	                 "the workload has a root or mounts of its own, and opens nothing in there for hugexec");
}

static int map_planned(struct tracee *tracee, const struct address_space *space, const struct settings *settings,
                       int fd, const struct plan *plan, struct plan *mapped, struct error *err)
{
	struct shared_key key;
	struct shared_copy copy;
	if (shared_key_of(fd, &key) < 0)
		return error_set_errno(err, errno, REASON_SHARED_COPY, "looking at the file");
	if (shared_store_find(&key, &copy, err) < 0)
		return error_is_set(err) ? -1 : 0;
	int result = check_place(tracee, err);
	if (result == 0)
		result = map_found(tracee, space, settings, &copy, plan, mapped, err);
	close(copy.fd);
	return result;
}

int shared_text_map(struct tracee *tracee, const struct mapping *object, const struct settings *settings, int fd,
                    struct plan *mapped, struct error *err)
{
	struct address_space space;
	struct plan plan;
	*mapped = (struct plan){0};
	if (!uses_file(settings) || mapped_file_is_remote(fd))
		return 0;
	if (address_space_read(tracee->pid, &space, err) < 0)
		return -1;
	ssize_t text = find_text(&space, object);
	int result = 0;
	if (text >= 0) {
		private_pages_note(&space, (size_t)text, tracee->pid);
		plan_shared(&space, (size_t)text, settings, host_pages()->huge_bytes, &plan);
		if (plan.range_count > 0)
			result = map_planned(tracee, &space, settings, fd, &plan, mapped, err);
	}
	address_space_free(&space);
	return result;
}
