/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/exe_inspect.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/proc.h"
#include "base/shebang.h"
#include "host/pages.h"

/* As many levels of #! as the kernel follows (fs/exec.c, exec_binprm()). */
#define INTERPRETERS_MAX 5

#define HEADERS_BYTES 8192 /* read of a file for its program headers, which stand at its beginning */

/* 0, or the error with which execve(2) refuses the file at PATH before it looks into it. */
static int executable_error(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EACCES;
	return access(path, X_OK) < 0 ? errno : 0;
}

/* The file that execvp(3) would try first and could run, into PATH. Returns 0, or the error that it would end with. */
static int search_path(const char *command, char *path, size_t path_bytes)
{
	if (strchr(command, '/')) {
		snprintf(path, path_bytes, "%s", command);
		return executable_error(path);
	}
	const char *list = getenv("PATH");
	char fallback[256];
	if (!list) {
		confstr(_CS_PATH, fallback, sizeof fallback);
		list = fallback;
	}
	int error = ENOENT;
	for (const char *dir = list; *command; dir++) {
		size_t dir_len = strcspn(dir, ":");
		int len = snprintf(path, path_bytes, "%.*s%s%s", (int)dir_len, dir, dir_len ? "/" : "", command);
		int this_error = len > 0 && (size_t)len < path_bytes ? executable_error(path) : ENAMETOOLONG;
		if (this_error == 0)
			return 0;
		error = error == EACCES ? EACCES : this_error;
		dir += dir_len;
		if (!*dir)
			break;
	}
	return error;
}

/* Of the file at FD, which need not be open for reading. */
static bool is_set_id(int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 || (st.st_mode & (S_ISUID | S_ISGID));
}

static bool grants_privilege(int fd)
{
	return is_set_id(fd) || fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

bool program_may_trace_privileged(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return data[0].effective & (1U << CAP_SYS_PTRACE);
}

/* Not by prctl(2), which a seccomp filter could kill for. */
bool program_tracing_is_harmless(void)
{
	cleanup_free char *status = proc_own_status();
	uint64_t no_new_privs, capabilities;
	if (proc_u64(status, "NoNewPrivs", 10, &no_new_privs) == 0 && no_new_privs == 1)
		return true;
	return proc_u64(status, "CapEff", 16, &capabilities) == 0 && capabilities & (1ULL << CAP_SYS_PTRACE);
}

bool program_may_be_traced(const struct program *program)
{
	if (!program->privileged || program_may_trace_privileged())
		return true;
	return !program->unreadable && program_tracing_is_harmless();
}

int program_privileged_error(const struct program *program, struct error *reason)
{
	return error_set(reason, REASON_PRIVILEGED_PROGRAM, "%s; run hugexec as root",
	                 program->unreadable ? "it may be executed but not read, and a tracer would change that"
	                                     : "tracing it would withhold its privileges");
}

const char *program_called(const struct program *program)
{
	bool is_other = program->found[0] == '/' && strcmp(program->found, program->path) != 0;
	return program->kind == PROGRAM_ELF && is_other ? program->found : NULL;
}

static enum program_kind kind_of(const unsigned char *head, size_t bytes)
{
	Elf64_Ehdr ehdr = {0};
	size_t begin_bytes = offsetof(Elf64_Ehdr, e_machine) + sizeof ehdr.e_machine; /* where both classes are alike */
	if (bytes < begin_bytes || memcmp(head, ELFMAG, SELFMAG) != 0)
		return PROGRAM_SCRIPT;
	memcpy(&ehdr, head, begin_bytes);
	bool is_native = ehdr.e_ident[EI_CLASS] == ELFCLASS64 && ehdr.e_ident[EI_DATA] == ARCH_ELF_DATA &&
	                 ehdr.e_machine == ARCH_ELF_MACHINE;
	return is_native ? PROGRAM_ELF : PROGRAM_FOREIGN;
}

/* Sum of the executable segments that the file at FD promises, in whole pages, from the headers at its beginning; 0
 * if they are elsewhere. */
static uint64_t promised_text(int fd)
{
	union {
		Elf64_Ehdr ehdr;
		unsigned char bytes[HEADERS_BYTES];
	} page;
	ssize_t got = pread(fd, &page, sizeof page, 0);
	uint64_t text_bytes = 0, page_bytes = host_pages()->base_bytes;
	if (got < (ssize_t)sizeof page.ehdr || page.ehdr.e_phentsize != sizeof(Elf64_Phdr))
		return 0;
	for (unsigned i = 0; i < page.ehdr.e_phnum; i++) {
		Elf64_Phdr phdr;
		uint64_t at = page.ehdr.e_phoff + i * sizeof phdr;
		if (page.ehdr.e_phoff >= sizeof page || at + sizeof phdr > (uint64_t)got)
			break;
		memcpy(&phdr, page.bytes + at, sizeof phdr);
		if (phdr.p_type == PT_LOAD && (phdr.p_flags & PF_X))
			text_bytes += page_up(phdr.p_vaddr % page_bytes + phdr.p_memsz, page_bytes);
	}
	return text_bytes;
}

void program_inspect_path(const char *path, struct program *out)
{
	*out = (struct program){.kind = PROGRAM_NOT_FOUND};
	snprintf(out->path, sizeof out->path, "%s", path);
	snprintf(out->found, sizeof out->found, "%s", path);
	struct shebang next;
	for (int level = 0; level <= INTERPRETERS_MAX; level++) {
		const char *file = level == 0 ? path : next.interpreter;
		cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0 && level == 0 && (errno == ENOENT || errno == ENOTDIR)) {
			out->errnum = errno;
			return;
		}
		if (fd < 0) {
			/* It can be executed but not read: tracing it would change what it may do. */
			cleanup_close int unread_fd = open(file, O_PATH | O_CLOEXEC);
			out->unreadable = unread_fd >= 0 && !is_set_id(unread_fd) && !out->privileged;
			out->privileged = true;
			out->kind = level == 0 ? PROGRAM_ELF : out->kind;
			return;
		}
		char head[SHEBANG_BYTES + 1] = "";
		ssize_t got = pread(fd, head, SHEBANG_BYTES, 0);
		enum program_kind kind = kind_of((unsigned char *)head, got > 0 ? (size_t)got : 0);
		out->privileged |= grants_privilege(fd);
		if (level == 0) {
			out->kind = kind;
			out->text_bytes = kind == PROGRAM_ELF ? promised_text(fd) : 0;
		}
		if (kind != PROGRAM_SCRIPT || !shebang_parse(head, &next))
			return;
	}
}

void program_inspect(const char *command, struct program *out)
{
	char found[PATH_MAX], resolved[PATH_MAX];
	*out = (struct program){.kind = PROGRAM_NOT_FOUND};
	out->errnum = search_path(command, found, sizeof found);
	if (out->errnum != 0)
		return;
	/* A file that has no name any more, or never had one, can still be executed as /proc/self/fd/N. */
	bool has_name = realpath(found, resolved) && access(resolved, F_OK) == 0;
	program_inspect_path(has_name ? resolved : found, out);
	memcpy(out->found, found, sizeof out->found);
}
