/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/missing.h"
#include "base/retry.h"
#include "base/size.h"
#include "host/cgroup.h"
#include "host/host.h"
#include "host/pages.h"
#include "remap/backing.h"
#include "remap/page_cache.h"
#include "remap/private_copy.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

/* A disk that is slower than this for a few MiB leaves the question open. */
#define FILE_TIMEOUT_MS 3000
#define FILE_PAGES      2 /* huge ones */
#define FILE_TRIES      4

static uint64_t file_bytes(void)
{
	return FILE_PAGES * host_pages()->huge_bytes;
}

static void say(struct probe *out, enum verdict verdict, const char *text, const char *advice)
{
	out->verdict = verdict;
	snprintf(out->text, sizeof out->text, "%s", text);
	snprintf(out->advice, sizeof out->advice, "%s", advice);
}

static void say_error(struct probe *out, const char *what, int errnum)
{
	out->verdict = VERDICT_FAILS;
	snprintf(out->text, sizeof out->text, "%s: %s", what, strerror(errnum));
	out->advice[0] = '\0';
}

/* As the engine creates them: not executable by its mode, which vm.memfd_noexec may ask for (6.3 and newer). */
static int create_memfd(unsigned flags)
{
	int fd = memfd_create("hugexec-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | flags);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("hugexec-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	return fd;
}

/* Address space of BYTES at a multiple of BYTES (a power of two), inside a reservation that munmap(*RESERVE) gives
 * back. */
static char *reserve_aligned(uint64_t bytes, void **reserve)
{
	*reserve = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*reserve == MAP_FAILED)
		return NULL;
	return (char *)*reserve + (bytes - (uintptr_t)*reserve % bytes) % bytes;
}

/* Map a huge page of the memfd FD as text. Returns the bytes on huge pages that smaps shows; -1 with errno if it is
 * refused. */
static int64_t map_as_text(int fd)
{
	uint64_t huge_bytes = host_pages()->huge_bytes;
	void *reserve;
	char *text = reserve_aligned(huge_bytes, &reserve);
	if (!text)
		return -1;
	int64_t seen_bytes = -1;
	if (mmap(text, huge_bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED) {
		madvise(text, huge_bytes, MADV_POPULATE_READ);
		cleanup_free char *smaps = remap_read_smaps(getpid(), UINT64_MAX);
		seen_bytes = (int64_t)remap_huge_bytes(smaps, (uintptr_t)text, (uintptr_t)text + huge_bytes, NULL);
	}
	int saved = errno;
	munmap(reserve, 2 * huge_bytes);
	errno = saved;
	return seen_bytes;
}

void probe_proc(struct probe *out)
{
	char link[16];
	if (readlink("/proc/self/exe", link, sizeof link) > 0 && access("/proc/self/smaps", R_OK) == 0)
		say(out, VERDICT_WORKS, "shows what processes have mapped", "");
	else
		say(out, VERDICT_FAILS, "not mounted, or does not show /proc/self/exe and /proc/self/smaps",
		    "mount -t proc proc /proc; for a unit with RootDirectory= MountAPIVFS=yes");
}

/*
 * A process may have been told to live without THP, and its children with it. (3 spares what is advised to be huge:
 * PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18.)
 */
static bool is_thp_disabled(void)
{
	return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1;
}

static const char thp_disabled_advice[] =
    "what started this process has set prctl(PR_SET_THP_DISABLE), which children inherit: start it in another way";

/* Whether pages are huge is read in /proc, and what is not seen is not said to be missing. */
static bool cannot_see(struct probe *out)
{
	probe_proc(out);
	if (out->verdict == VERDICT_WORKS)
		return false;
	say(out, VERDICT_UNKNOWN, "cannot be seen without /proc", "");
	return true;
}

void probe_thp(struct probe *out)
{
	if (cannot_see(out))
		return;
	uint64_t huge_bytes = host_pages()->huge_bytes;
	cleanup_close int fd = create_memfd(0);
	if (fd < 0 || ftruncate(fd, (off_t)huge_bytes) < 0) {
		say_error(out, "memfd_create", errno);
		return;
	}
	void *reserve;
	char *window = reserve_aligned(huge_bytes, &reserve);
	if (!window || mmap(window, huge_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		say_error(out, "mapping a memfd", errno);
		return;
	}
	struct error err = {0};
	int failed = backing_thp.open_window(window, huge_bytes, &err);
	munmap(reserve, 2 * huge_bytes);
	if (failed) {
		char text[ERROR_TEXT_BYTES];
		say(out, VERDICT_FAILS, error_text(&err, text, sizeof text),
		    is_thp_disabled()
		        ? thp_disabled_advice
		        : "a kernel from 6.1 on with CONFIG_TRANSPARENT_HUGEPAGE=y; with fragmented memory: "
		          "echo 1 > /proc/sys/vm/compact_memory");
		return;
	}
	int64_t seen_bytes = map_as_text(fd);
	if (seen_bytes < 0)
		say_error(out, "mapping a memfd executable", errno);
	else if ((uint64_t)seen_bytes < huge_bytes)
		say(out, VERDICT_FAILS, "a memfd became huge, but is mapped by small pages",
		    "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
	else
		say(out, VERDICT_WORKS, "a private copy of text comes on transparent huge pages", "");
}

const char *probe_cgroup_directory(const char *controller, char *buf, unsigned buf_bytes)
{
	struct cgroup_place place;
	buf[0] = '\0';
	if (cgroup_find(getpid(), controller, &place) == 0)
		snprintf(buf, buf_bytes, "%s", place.directory);
	return buf;
}

static void advise_pool(const struct hugetlb_pool *pool, struct probe *out)
{
	uint64_t mib = pool->page_bytes / MIB;
	if (pool->page_bytes == host_pages()->huge_bytes)
		snprintf(out->advice, sizeof out->advice, "sysctl vm.nr_hugepages=%" PRIu64, pool->total + 64);
	else
		snprintf(out->advice, sizeof out->advice,
		         "boot with hugepagesz=%" PRIu64 "M hugepages=4, or echo %" PRIu64
		         " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
		         mib, pool->total + 1, pool->page_bytes / KIB);
}

static void advise_cgroup(uint64_t page_bytes, struct probe *out)
{
	struct cgroup_place place;
	char size[16];
	if (cgroup_find(getpid(), "hugetlb", &place) == 0)
		snprintf(out->advice, sizeof out->advice, "raise hugetlb.%s.%s in %.256s or a cgroup above it",
		         cgroup_page_size(page_bytes, size, sizeof size), place.unified ? "max" : "limit_in_bytes",
		         place.directory);
}

void probe_hugetlb(uint64_t page_bytes, struct probe *out)
{
	struct hugetlb_pool pool;
	char page[16];
	size_format(page_bytes, page, sizeof page);
	*out = (struct probe){.verdict = VERDICT_FAILS};
	if (host_hugetlb_pool(page_bytes, &pool) < 0) {
		snprintf(out->text, sizeof out->text, "the kernel has no pool of %s pages", page);
		return;
	}
	uint64_t headroom_bytes = UINT64_MAX;
	host_hugetlb_headroom(getpid(), page_bytes, &headroom_bytes);
	cleanup_close int fd = create_memfd(MFD_HUGETLB | (unsigned)__builtin_ctzll(page_bytes) << MFD_HUGE_SHIFT);
	int failed = fd < 0 || fallocate(fd, 0, 0, (off_t)page_bytes) < 0 ? errno : 0;
	snprintf(out->text, sizeof out->text,
	         "%" PRIu64 " pages of %s, %" PRIu64 " free, of which %" PRIu64 " are reserved; %" PRIu64
	         " more on demand",
	         pool.total, page, pool.free, pool.reserved, pool.overcommit_left);
	if (!failed) {
		out->verdict = VERDICT_WORKS;
		return;
	}
	size_t used = strlen(out->text);
	if (headroom_bytes < page_bytes) {
		snprintf(out->text + used, sizeof out->text - used, "; the cgroup allows no more");
		advise_cgroup(page_bytes, out);
	} else if (failed == ENOSPC || failed == ENOMEM) {
		advise_pool(&pool, out);
	} else {
		snprintf(out->text + used, sizeof out->text - used, "; taking one: %s", strerror(failed));
	}
}

/* A file in DIRECTORY that never has a name, or has it for a moment only if the filesystem knows no O_TMPFILE. */
static int create_nameless(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/.hugexec-probe-XXXXXX", directory);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static bool mount_is_noexec(int fd)
{
	struct statvfs fs;
	return fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOEXEC);
}

/* A few MiB on the disk and out of the page cache; then as the engine will see it: open for reading only. */
static int prepare_file(const char *directory, const char **step)
{
	static const char block[64 * KIB] = {1};
	char path[64];
	*step = "creating a file";
	cleanup_close int fd = create_nameless(directory);
	if (fd < 0)
		return -1;
	*step = "writing it";
	for (uint64_t at = 0; at < file_bytes(); at += sizeof block) {
		if (pwrite(fd, block, sizeof block, (off_t)at) != (ssize_t)sizeof block)
			return -1;
	}
	if (fdatasync(fd) < 0)
		return -1;
	*step = "opening it again";
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int readable = open(path, O_RDONLY | O_CLOEXEC);
	if (readable >= 0)
		posix_fadvise(readable, 0, 0, POSIX_FADV_DONTNEED);
	return readable;
}

/* Try the file open at FD. Returns whether that answers the question for all files beside it. */
static bool try_file(int fd, struct probe *out)
{
	struct file_range range = {0, file_bytes()};
	struct error err = {0};
	uint64_t huge_bytes = 0;
	char text[ERROR_TEXT_BYTES];
	if (mount_is_noexec(fd)) {
		say(out, VERDICT_FAILS, "mounted noexec: no program runs from it", "");
	} else if (page_cache_make_huge(fd, &range, 1, FILE_TIMEOUT_MS, &huge_bytes, &err) == 0 &&
	           huge_bytes == range.bytes) {
		say(out, VERDICT_WORKS, "huge pages of the page cache are mapped in place", "");
	} else if (is_thp_disabled()) {
		say(out, VERDICT_FAILS, error_text(&err, text, sizeof text), thp_disabled_advice);
	} else if (err.code == REASON_FILE_UNSUPPORTED) {
		say(out, VERDICT_FAILS, error_text(&err, text, sizeof text),
		    "a filesystem with large folios (xfs from Linux 5.18, ext4 from 6.16), or a kernel with "
		    "CONFIG_READ_ONLY_THP_FOR_FS=y (6.1 to 7.1)");
	} else {
		say(out, VERDICT_UNKNOWN, error_text(&err, text, sizeof text), "");
	}
	return out->verdict != VERDICT_UNKNOWN;
}

/* Try a few large files of DIRECTORY, one after the other: some may be in use. As try_file(). */
static bool try_large_files(const char *directory, struct probe *out)
{
	cleanup_closedir DIR *list = opendir(directory);
	struct dirent *entry;
	struct stat st;
	unsigned tries = 0;
	while (list && tries < FILE_TRIES && (entry = readdir(list)) != NULL) {
		if (fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
		    (uint64_t)st.st_size < file_bytes())
			continue;
		cleanup_close int fd =
		    openat(dirfd(list), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		tries++;
		if (try_file(fd, out))
			return true;
	}
	return false;
}

void probe_file(const char *directory, struct probe *out)
{
	const char *step;
	if (cannot_see(out))
		return;
	*out = (struct probe){.verdict = VERDICT_UNKNOWN};
	cleanup_close int fd = prepare_file(directory, &step);
	int failed = errno;
	if (fd >= 0) {
		try_file(fd, out);
		return;
	}
	if (try_large_files(directory, out) || out->text[0])
		return;
	snprintf(out->text, sizeof out->text, "not tried: %s in %s: %s, and no large file there to try with", step,
	         directory, strerror(failed));
	if (failed == EACCES)
		snprintf(out->advice, sizeof out->advice, "run hugexecctl doctor as root");
}

/* In the child: trace the parent, as hugexec's tracer does. Exit status: 0, or the errno of the refusal. */
static _Noreturn void trace_parent(pid_t parent, int allowed_fd)
{
	char byte;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (read(allowed_fd, &byte, 1) != 1)
		_exit(EPIPE);
	int refused = ptrace(PTRACE_SEIZE, parent, NULL, NULL) < 0 ? errno : 0;
	_exit(refused); /* a tracer that exits lets go */
}

void probe_ptrace(struct probe *out)
{
	int fds[2], status = 0;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		say_error(out, "pipe", errno);
		return;
	}
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0) {
		close(fds[1]);
		trace_parent(parent, fds[0]);
	}
	prctl(PR_SET_PTRACER, child, 0, 0, 0);
	if (child > 0 && write(fds[1], "", 1) == 1)
		retry(waitpid(child, &status, 0));
	close(fds[0]);
	close(fds[1]);
	prctl(PR_SET_PTRACER, 0, 0, 0, 0);
	if (child < 0)
		say_error(out, "fork", errno);
	else if (WIFSIGNALED(status))
		say(out, VERDICT_FAILS, "a seccomp filter kills whatever calls ptrace",
		    "allow @debug besides @system-service in the unit's SystemCallFilter=");
	else if (WEXITSTATUS(status) == 0)
		say(out, VERDICT_WORKS, "a child may trace its parent", "");
	else
		say_error(out, "PTRACE_SEIZE", WEXITSTATUS(status));
	if (out->verdict != VERDICT_FAILS || out->advice[0])
		return;
	if (host_yama_scope() < 2)
		snprintf(
		    out->advice, sizeof out->advice,
		    "a seccomp filter or security module refuses: allow ptrace in the unit's SystemCallFilter= or the "
		    "container's profile");
	else
		snprintf(out->advice, sizeof out->advice, "%s",
		         host_yama_scope() == 2
		             ? "sysctl kernel.yama.ptrace_scope=1, or run hugexec as root"
		             : "kernel.yama.ptrace_scope=1 in /etc/sysctl.d, and reboot: 3 cannot be undone");
}
