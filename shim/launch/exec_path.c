#include "launch/exec_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/host.h"
#include "launch/program.h"
#include "launch/rehearse.h"

#define PAGE_BYTES 4096 /* or a part of a larger one */

/* Where a path of the tracee's begins: a folder that both of us mean, and how links behind it may lead on. */
struct start {
	int fd;
	uint64_t resolve; /* RESOLVE_* (openat2(2)) */
};

/* What an opener of paths for program_inspect_by() has to know. */
struct view {
	pid_t pid;
	const char *name;  /* what the tracee executes; other paths are interpreters' */
	int tracee_dir_fd; /* what NAME is relative to */
};

/*
 * The string at TRACEE_ADDR into BUF, page by page: its end may stand just before one that is not mapped. False where
 * no end can be read.
 */
static bool read_string(const struct tracee *tracee, uint64_t tracee_addr, char *buf, size_t bytes)
{
	for (size_t used = 0; used < bytes;) {
		size_t wanted = PAGE_BYTES - (tracee_addr + used) % PAGE_BYTES;
		if (wanted > bytes - used)
			wanted = bytes - used;
		ssize_t got = tracee_read(tracee, tracee_addr + used, buf + used, wanted);
		if (got <= 0)
			return false;
		if (memchr(buf + used, '\0', (size_t)got))
			return true;
		used += (size_t)got;
	}
	return false;
}

enum exec_seen exec_path_see(const struct tracee *tracee, struct exec_path *out)
{
	struct __ptrace_syscall_info info;
	int pid = (int)tracee->pid;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return EXEC_NONE;
	int path_argument = arch_exec_path_argument(info.arch, info.entry.nr);
	if (path_argument < 0)
		return EXEC_NONE;
	if (!read_string(tracee, info.entry.args[path_argument], out->name, sizeof out->name))
		return EXEC_UNREADABLE;
	out->tracee_dir_fd = path_argument == 0 ? AT_FDCWD : (int)info.entry.args[0];
	if (out->name[0] == '/')
		snprintf(out->shown, sizeof out->shown, "%s", out->name);
	else if (out->tracee_dir_fd == AT_FDCWD)
		snprintf(out->shown, sizeof out->shown, "/proc/%d/cwd/%s", pid, out->name);
	else
		snprintf(out->shown, sizeof out->shown, "/proc/%d/fd/%d%s%s", pid, out->tracee_dir_fd,
		         out->name[0] ? "/" : "", out->name);
	return EXEC_OF_PATH;
}

/* Where PATH is a link to what the tracee itself has open or runs, that as we name it, into BUF. */
static bool is_own_link(pid_t pid, const char *path, char *buf, size_t buf_bytes)
{
	static const char *const folders[] = {"/proc/self/", "/proc/thread-self/"};
	for (unsigned i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		size_t len = strlen(folders[i]);
		const char *link = path + len;
		if (strncmp(path, folders[i], len) != 0)
			continue;
		snprintf(buf, buf_bytes, "/proc/%d/%s", (int)pid, link);
		return strcmp(link, "exe") == 0 || (strncmp(link, "fd/", 3) == 0 && !strchr(link + 3, '/'));
	}
	return false;
}

/* openat2(2) is of Linux 5.6, and younger than some filters, of which one might end us for it. */
static int open_behind(const struct start *start, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = start->resolve};
	return (int)syscall(SYS_openat2, start->fd, path, &how, sizeof how);
}

static void try_open_behind(void)
{
	close(open_behind(&(struct start){AT_FDCWD, RESOLVE_NO_MAGICLINKS}, "/", O_PATH));
}

static bool may_open_behind(void)
{
	static enum { UNTRIED, YES, NO } may;
	if (may == UNTRIED)
		may = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0 || rehearse_calls(try_open_behind, NULL) == 0 ? YES : NO;
	return may == YES;
}

/*
 * PATH, which the kernel did not find, is not there: the first part of it that is missing has no entry in its folder.
 * A link would have one, which may lead somewhere for the tracee; and in /proc the tracee sees other things than we do.
 */
static bool is_missing(const struct start *start, const char *path)
{
	char part[PATH_MAX];
	struct stat st;
	struct statfs fs;
	cleanup_close int folder_fd = fcntl(start->fd, F_DUPFD_CLOEXEC, 0);
	for (size_t at = strspn(path, "/"); path[at];) {
		size_t end = at + strcspn(path + at, "/");
		snprintf(part, sizeof part, "%.*s", (int)end, path);
		int fd = open_behind(start, part, O_PATH);
		if (fd < 0) {
			bool in_proc = fstatfs(folder_fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC;
			snprintf(part, sizeof part, "%.*s", (int)(end - at), path + at);
			return !in_proc && fstatat(folder_fd, part, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
			       (errno == ENOENT || errno == ENOTDIR);
		}
		close(folder_fd);
		folder_fd = fd;
		at = end + strspn(path + end, "/");
	}
	return false;
}

/* PATH leads through a folder that may not be searched, not for us, nor for the tracee, which has our rights. */
static bool is_out_of_reach(const struct start *start, const char *path)
{
	cleanup_close int fd = open_behind(start, path, O_PATH);
	return fd < 0 && errno == EACCES;
}

/* Where a PATH of PID's begins that is relative to TRACEE_DIR_FD. Returns 0, or -1 with errno. */
static int start_of(pid_t pid, int tracee_dir_fd, const char *path, struct start *start)
{
	char folder[64];
	bool same_root = host_shares(pid, "root") && host_shares(pid, "ns/mnt");
	if (path[0] == '/') {
		snprintf(folder, sizeof folder, "/proc/%d/root", (int)pid);
		start->resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
	} else {
		/* An absolute link behind it leads to a root, which should be the tracee's. */
		start->resolve = same_root ? RESOLVE_NO_MAGICLINKS : RESOLVE_NO_SYMLINKS;
		if (tracee_dir_fd == AT_FDCWD)
			snprintf(folder, sizeof folder, "/proc/%d/cwd", (int)pid);
		else
			snprintf(folder, sizeof folder, "/proc/%d/fd/%d", (int)pid, tracee_dir_fd);
	}
	start->fd = open(folder, O_PATH | O_CLOEXEC);
	return start->fd < 0 ? -1 : 0;
}

/* A program_opener: PATH as the tracee of VIEW_ finds it. errno is ENOENT only where it finds nothing. */
static int open_as_tracee(void *view_, const char *path, int flags)
{
	const struct view *view = view_;
	int tracee_dir_fd = path == view->name ? view->tracee_dir_fd : AT_FDCWD;
	struct start start;
	char own_link[PATH_MAX + 64];
	if (path[0] == '\0') { /* the file is open */
		snprintf(own_link, sizeof own_link, "/proc/%d/fd/%d", (int)view->pid, tracee_dir_fd);
		return open(own_link, flags);
	}
	if (is_own_link(view->pid, path, own_link, sizeof own_link))
		return open(own_link, flags);
	if (!may_open_behind()) {
		errno = EPERM;
		return -1;
	}
	if (start_of(view->pid, tracee_dir_fd, path, &start) < 0)
		return -1;
	int fd = open_behind(&start, path, (uint64_t)flags);
	if (fd < 0 && errno == EACCES)
		errno = is_out_of_reach(&start, path) ? ENOENT : EACCES;
	else if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		errno = is_missing(&start, path) ? ENOENT : ELOOP;
	int saved_errno = errno;
	close(start.fd);
	errno = saved_errno;
	return fd;
}

bool exec_path_may_be_privileged(const struct tracee *tracee, const struct exec_path *path, struct error *reason)
{
	struct program program;
	struct view view = {tracee->pid, path->name, path->tracee_dir_fd};
	program_inspect_by(open_as_tracee, &view, path->name, &program);
	return program.privileged && program_privileged_error(&program, reason) < 0;
}
