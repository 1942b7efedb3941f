/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox_enter.h"

#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY      65534
#define CPU_SECONDS 20 /* for a reader that was taken over: limits of bytes, values and memory end the others' work */

static void limit(__rlimit_resource_t resource, rlim_t value)
{
	struct rlimit both = {value, value};
	setrlimit(resource, &both);
}

/* There all ids are mapped onto themselves (user_namespaces(7)). */
static bool is_initial_user_namespace(void)
{
	char map[64] = "";
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, map, sizeof map - 1);
	unsigned inside = 1, outside = 1, count = 0;
	if (fd >= 0)
		close(fd);
	return got > 0 && sscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 &&
	       count == UINT32_MAX;
}

static void drop_privileges(pid_t parent_pid, uint64_t memory_bytes, rlim_t files)
{
	/* Each step may be refused in a user namespace that has no nobody; the filter holds all the same. */
	if (geteuid() == 0) {
		bool refused = setgroups(0, NULL) < 0;
		refused |= setresgid(NOBODY, NOBODY, NOBODY) < 0;
		refused |= setresuid(NOBODY, NOBODY, NOBODY) < 0;
		if (refused && is_initial_user_namespace())
			_exit(READER_EXIT_NOT_LOCKED);
	}
	/* After the change of identity, which resets it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent_pid)
		_exit(READER_EXIT_NOT_LOCKED);
	limit(RLIMIT_AS, memory_bytes);
	limit(RLIMIT_CPU, CPU_SECONDS);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NPROC, 0);
	limit(RLIMIT_NOFILE, files);
}

/* Allow the call NAME if its COUNT arguments in CONDITIONS hold. Returns 0, or not 0. */
static int allow(scmp_filter_ctx filter, const char *name, unsigned count, const struct scmp_arg_cmp *conditions)
{
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), count, conditions);
}

/* What parsers and malloc need: reading the given file, anonymous memory that is never executable, and the answer. */
static int fill_filter(scmp_filter_ctx filter)
{
	static const char *const harmless[] = {"read",   "pread64", "lseek", "fstat",      "brk",
	                                       "munmap", "mremap",  "exit",  "exit_group", "rt_sigreturn"};
	const struct scmp_arg_cmp of_the_file = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = READER_FILE_FD};
	const struct scmp_arg_cmp to_the_answer = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = READER_ANSWER_FD};
	const struct scmp_arg_cmp asks_for_flags = {.arg = 1, .op = SCMP_CMP_EQ, .datum_a = F_GETFD};
	const struct scmp_arg_cmp plain_memory[] = {
	    {.arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0},
	    {.arg = 3, .op = SCMP_CMP_MASKED_EQ, .datum_a = MAP_ANONYMOUS, .datum_b = MAP_ANONYMOUS},
	};
	int failed = 0;
	for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
		failed |= allow(filter, harmless[i], 0, NULL);
	failed |= allow(filter, "newfstatat", 1, &of_the_file);
	failed |= allow(filter, "fcntl", 1, &asks_for_flags);
	failed |= allow(filter, "write", 1, &to_the_answer);
	failed |= allow(filter, "mmap", 2, plain_memory);
	return failed;
}

/* What a reader needs that is sent files: to receive and to close them. */
static int allow_sent_files(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp of_sent_file = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = READER_SENT_FD};
	const struct scmp_arg_cmp by_the_socket = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = READER_ANSWER_FD};
	int failed = allow(filter, "newfstatat", 1, &of_sent_file);
	failed |= allow(filter, "close", 1, &of_sent_file);
	failed |= allow(filter, "recvmsg", 1, &by_the_socket);
	return failed;
}

static void confine(const char *parent, uint64_t memory_bytes, bool is_sent_files)
{
	drop_privileges((pid_t)atoi(parent), memory_bytes, is_sent_files ? READER_SENT_FD + 1 : 0);
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter || fill_filter(filter) != 0 || (is_sent_files && allow_sent_files(filter) != 0) ||
	    seccomp_load(filter) != 0)
		_exit(READER_EXIT_NOT_LOCKED);
	seccomp_release(filter);
}

void sandbox_enter(const char *parent, uint64_t memory_bytes)
{
	confine(parent, memory_bytes, false);
}

void sandbox_enter_for_files(const char *parent, uint64_t memory_bytes)
{
	confine(parent, memory_bytes, true);
}

void reader_misbehave(const char *how)
{
	if (strcmp(how, "open") == 0)
		open("/etc/passwd", O_RDONLY);
	else if (strcmp(how, "socket") == 0)
		socket(AF_UNIX, SOCK_STREAM, 0);
	else if (strcmp(how, "exec") == 0)
		execl("/bin/true", "true", (char *)NULL);
	else if (strcmp(how, "fork") == 0)
		fork();
	else if (strcmp(how, "exec-memory") == 0)
		mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
