/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject - run COMMAND and make one system call of hugexec's fail, once:
 *
 *   inject record FILE [OPTIONS] -- COMMAND...
 *       write a line "ROLE NUMBER COUNT LOADER FIRST-ARGUMENT" for each call
 *   inject ROLE NUMBER COUNT FAULT [OPTIONS] -- COMMAND...
 *       the COUNTth call NUMBER of that role fails with FAULT, an errno or one of the words below. Behind an errno "+":
 *       and so does the same call from there on; "*": and every call of that role; "!": and the tracer can open nothing
 *       "killed"    the workload is dead when the call is made
 *       "suicide"   who makes the call is dead instead of making it
 *       "end"       it reads nothing, as at the end of a file
 *       "nonsense"  where it reads a file of /proc or /sys, what it reads is none that a kernel writes
 *       "reversed", "wordless", "enormous", "escaped", "cut"
 *                   it reads what the file says, but with its lines in the opposite order, letters for digits, numbers
 *                   that are too large, another character in front of each path, or only the first three characters
 *                   behind the first word
 *       "elsewhere" where it reads the header of an ELF file, that has another entry point
 *       "chosen"    where it asks for random bytes, they are such that a program would be moved to where something is
 *
 *   --honest      hugexec may know that there is a filter
 *   --tell=FD     write a byte to FD when COMMAND itself has ended, though processes of its may go on
 *   --victim=PID  the workload, where it is not COMMAND
 *
 * COMMAND runs under a seccomp filter that asks us about system calls (seccomp_unotify(2)); hugexec's tracer, its
 * children and what it makes the workload call are all under it, because filters are inherited and an injected call is
 * one of the workload's own. Nobody is traced for this, so that hugexec can trace. hugexec is told that there is no
 * filter (unless --honest), or it would take its careful way only.
 *
 * Roles: "hugexec" before it executes the workload, "tracer", "child" (of the tracer), "reader" (what one of
 * these has executed), "injected" (a call of the workload's from its vDSO, as the engine makes them), "workload" (its
 * own). Exit status: COMMAND's, 128 + the signal that ended it; 99 where something is left behind or hangs.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"

#define PROCESSES_MAX 256
#define CALLS_MAX     512
#define PATIENCE_S    25
#define WRITES_COUNTS 0x67636f76 /* the prctl() of tests/coverage/flush.c */
#define LOADER_BYTES  0x40000
#define VDSO_BYTES    0x2000

/* Faults that are no errno; from NONSENSE on those of what is read. */
enum { KILLED = 10000, SUICIDE, END, NONSENSE, REVERSED, WORDLESS, ENORMOUS, ESCAPED, CUT, ELSEWHERE, CHOSEN };
static const char *const fault_names[] = {"killed",   "suicide", "end", "nonsense",  "reversed", "wordless",
                                          "enormous", "escaped", "cut", "elsewhere", "chosen"};

#define TEXT_BYTES 65536

enum role { NONE, HUGEXEC, TRACER, CHILD, READER, INJECTED, WORKLOAD, ROLES };
static const char *const role_names[] = {"none", "hugexec", "tracer", "child", "reader", "injected", "workload"};

struct process {
	pid_t pid;
	enum role role;
	unsigned execs;
	unsigned execs_known; /* for which the two below hold */
	uint64_t vdso_addr, loader_addr;
};

static struct process processes[PROCESSES_MAX];
static unsigned process_count;
static unsigned counts[ROLES][CALLS_MAX];
static pid_t first_pid, victim_pid;
static int first_status;
static FILE *record;
static enum role fail_role;
static int fail_number = -1, fail_how;
static unsigned fail_count;
static char
    fails_on; /* the calls behind that one, too: '+' the same, '*' all of that role, '!' and the tracer's opens */
static bool has_failed;
static bool honest;
static int tell_fd = -1;

static struct process *find(pid_t pid)
{
	for (unsigned i = 0; i < process_count; i++) {
		if (processes[i].pid == pid)
			return &processes[i];
	}
	if (process_count == PROCESSES_MAX)
		return &processes[0];
	pid_t parent_pid = pid == first_pid ? 0 : parent_of(pid);
	struct process *parent = parent_pid && parent_pid != getpid() ? find(parent_pid) : NULL;
	struct process *process = &processes[process_count++];
	*process = (struct process){.pid = pid};
	if (pid == first_pid)
		process->role = NONE;
	else if (!parent) /* an orphan is one of the tracer's */
		process->role = CHILD;
	else
		process->role = parent->role == HUGEXEC ? TRACER
		                : parent->role == TRACER || parent->role == CHILD || parent->role == NONE
		                    ? CHILD
		                    : parent->role;
	return process;
}

static void learn_addresses(struct process *process)
{
	char path[64];
	uint64_t words[128];
	if (process->execs_known == process->execs)
		return;
	snprintf(path, sizeof path, "/proc/%d/auxv", (int)process->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, words, sizeof words);
	close(fd);
	for (ssize_t i = 0; i + 1 < got / 8; i += 2) {
		if (words[i] == AT_SYSINFO_EHDR)
			process->vdso_addr = words[i + 1];
		if (words[i] == AT_BASE)
			process->loader_addr = words[i + 1];
	}
	process->execs_known = process->execs;
}

static enum role role_of(struct process *process, uint64_t addr)
{
	if (process->role == WORKLOAD && process->pid == first_pid && addr - process->vdso_addr < VDSO_BYTES)
		return INJECTED;
	return process->role;
}

/* Whoever executes something has another role afterwards. */
static void note_exec(struct process *process)
{
	process->execs++;
	if (process->pid == first_pid)
		process->role = process->execs == 1 ? HUGEXEC : WORKLOAD;
	else if (process->role == CHILD || process->role == TRACER)
		process->role = READER;
}

/* Kill the workload, and wait until it is a zombie; one that is traced may stop on the way and be none so soon. */
static void kill_victim(void)
{
	char path[64], text[512];
	pid_t pid = victim_pid ? victim_pid : first_pid;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	kill(pid, SIGKILL);
	for (int tries = 0; tries < 50; tries++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		close(fd);
		text[got > 0 ? got : 0] = '\0';
		const char *state = strrchr(text, ')');
		if (!state || strchr("ZX", state[2]))
			return;
		usleep(200);
	}
}

/* TEXT with its lines, or what takes their place in a file of words, in the opposite order. */
static size_t reverse(const char *text, size_t bytes, bool of_words, char *out)
{
	size_t put = 0;
	for (size_t end = bytes; end > 0;) {
		size_t start = of_words ? end - (end < 16 ? end : 16) : end - 1;
		while (!of_words && start > 0 && text[start - 1] != '\n')
			start--;
		memcpy(out + put, text + start, end - start);
		put += end - start;
		end = start;
	}
	return put;
}

static size_t garble(int fault, const char *text, size_t bytes, bool of_words, char *out)
{
	size_t put = 0;
	if (fault == REVERSED)
		return reverse(text, bytes, of_words, out);
	if (fault == CUT) {
		const char *blank = memchr(text, ' ', bytes);
		size_t kept = blank ? (size_t)(blank - text) + 4 : bytes / 2;
		bytes = kept < bytes ? kept : bytes;
	}
	for (size_t i = 0; i < bytes && put + 20 < TEXT_BYTES; i++) {
		bool is_digit = of_words || (text[i] >= '0' && text[i] <= '9');
		bool ends_number = is_digit && (i + 1 == bytes || !strchr("0123456789abcdef", text[i + 1]));
		if (fault == ESCAPED && text[i] == '/' && i > 0 && text[i - 1] == ' ') {
			memcpy(out + put, "\\012", 4);
			put += 4;
		}
		out[put++] = is_digit && fault == WORDLESS ? 'z' : of_words && fault == ENORMOUS ? '\xff' : text[i];
		if (fault == ENORMOUS && !of_words && ends_number) {
			memset(out + put, '7', 18);
			put += 18;
		}
	}
	return put;
}

static int64_t write_to(pid_t pid, uint64_t addr, void *buf, size_t bytes)
{
	struct iovec own = {buf, bytes};
	struct iovec other = {(void *)(uintptr_t)addr, bytes}; // NOLINT(performance-no-int-to-ptr)
	return process_vm_writev(pid, &own, 1, &other, 1, 0);
}

/* Whether ASKED reads a file of the kernel's, and has something else in its buffer now. Returns how much, or -1. */
static int64_t write_nonsense(const struct seccomp_notif *asked, int fault)
{
	static char text[TEXT_BYTES], garbled[TEXT_BYTES];
	char path[64], file[256];
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)asked->pid, (int)asked->data.args[0]);
	ssize_t got = readlink(path, file, sizeof file - 1);
	file[got > 0 ? got : 0] = '\0';
	if (strncmp(file, "/proc/", 6) != 0 && strncmp(file, "/sys/", 5) != 0)
		return -1;
	size_t bytes = TEXT_BYTES / 128;
	for (unsigned i = 0; i < bytes; i++)
		garbled[i] = "7f- x\n(Z"[i * 7 % 9];
	if (fault != NONSENSE) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		got = fd < 0 ? -1 : read(fd, text, sizeof text / 2);
		close(fd);
		bytes = garble(fault, text, got > 0 ? (size_t)got : 0, strstr(file, "/auxv") != NULL, garbled);
	}
	bytes = asked->data.args[2] < bytes ? asked->data.args[2] : bytes;
	return write_to((pid_t)asked->pid, asked->data.args[1], garbled, bytes);
}

/* Whether ASKED reads an ELF header, and has one in its buffer now whose entry point is somewhere else. */
static int64_t write_elsewhere(const struct seccomp_notif *asked)
{
	Elf64_Ehdr ehdr;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)asked->pid, (int)asked->data.args[0]);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is_header = asked->data.args[2] == sizeof ehdr && pread(fd, &ehdr, sizeof ehdr, 0) == sizeof ehdr;
	close(fd);
	ehdr.e_entry += 1 << 30;
	return is_header ? write_to((pid_t)asked->pid, asked->data.args[1], &ehdr, sizeof ehdr) : -1;
}

/*
 * Of where the program is moved to (remap/relocate.c): from 0x200000000000 on, in steps of 2 MiB. Where ld.so stands in
 * that range (the legacy layout), a step below it: a program of some MiB reaches that far.
 */
static int64_t write_chosen(const struct seccomp_notif *asked)
{
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/%d/maps", (int)first_pid);
	FILE *maps = fopen(path, "re");
	uint64_t start = 0, number = 0;
	while (maps && !number && fgets(line, sizeof line, maps)) {
		start = strtoull(line, NULL, 16);
		if (start > 0x200000400000 && start < 0x4ff000000000)
			number = ((start - 0x200000000000) >> 21) - 1;
	}
	if (maps)
		fclose(maps);
	return number ? write_to((pid_t)asked->pid, asked->data.args[0], &number, sizeof number) : -1;
}

/* Whether the call with this NUMBER, the COUNTth of ROLE, is to fail. */
static bool is_to_fail(enum role role, int number, unsigned count)
{
	bool is_it = role == fail_role && number == fail_number && count == fail_count;
	if (fails_on && has_failed && number != SYS_close) { /* which releases a descriptor whatever it returns */
		is_it |= role == fail_role && (number == fail_number || fails_on != '+');
		is_it |= fails_on == '!' && role == TRACER && number == SYS_openat;
	}
	has_failed |= is_it;
	return is_it;
}

/* What to answer: a fault, or 0 to let the call go on. */
static int judge(const struct seccomp_notif *asked)
{
	struct process *process = find((pid_t)asked->pid);
	learn_addresses(process);
	if (asked->data.nr == SYS_prctl && asked->data.args[0] == WRITES_COUNTS)
		process->role = NONE;
	enum role role = role_of(process, asked->data.instruction_pointer);
	int number = asked->data.nr;
	if (number < 0 || number >= CALLS_MAX || role == NONE) {
		if (number == SYS_execve)
			note_exec(process);
		return 0;
	}
	unsigned count = counts[role][number]++;
	bool by_loader = asked->data.instruction_pointer - process->loader_addr < LOADER_BYTES;
	if (record)
		fprintf(record, "%s %d %u %d %llu\n", role_names[role], number, count, by_loader,
		        (unsigned long long)asked->data.args[0]);
	if (is_to_fail(role, number, count))
		return fail_how;
	if (number == SYS_execve)
		note_exec(process);
	return 0;
}

static void answer(int listener)
{
	union {
		struct seccomp_notif notif;
		char room[512];
	} asked = {0};
	union {
		struct seccomp_notif_resp resp;
		char room[512];
	} told = {0};
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
		return;
	told.resp.id = asked.notif.id;
	int fault = judge(&asked.notif);
	int64_t written = fault == ELSEWHERE  ? write_elsewhere(&asked.notif)
	                  : fault == CHOSEN   ? write_chosen(&asked.notif)
	                  : fault >= NONSENSE ? write_nonsense(&asked.notif, fault)
	                                      : -1;
	if (fault == KILLED)
		kill_victim();
	if (fault == SUICIDE)
		kill((pid_t)asked.notif.pid, SIGKILL);
	if (fault && fault < KILLED && asked.notif.data.nr == SYS_brk)
		told.resp.val = heap_end((pid_t)asked.notif.pid);
	else if (fault && fault < KILLED)
		told.resp.error = -fault;
	else if (fault == END || written >= 0)
		told.resp.val = fault == END ? 0 : written;
	else if (!honest && asked.notif.data.nr == SYS_prctl && asked.notif.data.args[0] == PR_GET_SECCOMP)
		told.resp.val = 0;
	else
		told.resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &told);
}

/*
 * All calls where they are recorded; else those that we have to know about. Never waitid: the workload's last call for
 * us begins with TIF_SIGPENDING set by its tracer's end, so that asking somebody about it is interrupted and the call
 * restarted, two bytes before the program's first instruction (docs/reliability.md).
 */
static int install_filter(void)
{
	bool all = record || fails_on == '*' || fails_on == '!';
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_waitid, 3, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? SYS_execve : (unsigned)fail_number, 3, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 2, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 1, all ? 1 : 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog program = {sizeof code / sizeof code[0], code};
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	                    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

/* Shares our files until the listener is there: then has its own, and executes COMMAND. */
static _Noreturn void run_command(char **command, volatile int *listener)
{
	int fd = install_filter();
	*listener = fd < 0 ? -1 : fd;
	if (fd < 0 || unshare(CLONE_FILES) < 0)
		_exit(98);
	close(fd);
	if (tell_fd >= 0)
		close(tell_fd);
	signal(SIGTERM, SIG_DFL);
	const char *socket = getenv("LISTENER");
	if (socket) { /* for a daemon with a socket, as systemd starts it: its first descriptor behind the standard ones
		       */
		char pid[16];
		dup2(atoi(socket), 3);
		setenv("LISTEN_FDS", "1", 1);
		snprintf(pid, sizeof pid, "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
	}
	execv(command[0], command);
	_exit(98);
}

static void reap(int options)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, __WALL | options)) > 0)
		first_status = pid == first_pid ? status : first_status;
}

/*
 * Answer until nobody is left under the filter; before Linux 6.11 those who are dead and not reaped are. Returns
 * whether that came to an end.
 */
static bool supervise(int listener)
{
	time_t began = time(NULL);
	struct pollfd poll_fds[2] = {
	    {.fd = listener, .events = POLLIN},
	    {.fd = tell_fd < 0 ? -1 : (int)syscall(SYS_pidfd_open, first_pid, 0), .events = POLLIN},
	};
	while (time(NULL) - began < PATIENCE_S) {
		if (poll(poll_fds, 2, 50) <= 0) {
			reap(WNOHANG);
			continue;
		}
		if (poll_fds[1].revents) {
			poll_fds[1].fd = -1;
			if (write(tell_fd, "", 1) < 0)
				break;
		}
		if (poll_fds[0].revents & POLLIN)
			answer(listener);
		else if (poll_fds[0].revents & POLLHUP)
			return true;
	}
	for (unsigned i = 0; i < process_count; i++)
		kill(processes[i].pid, SIGKILL);
	return false;
}

static char **parse(int argc, char **argv)
{
	int at = 1;
	if (argc > 3 && strcmp(argv[1], "record") == 0) {
		record = fopen(argv[2], "we");
		at = 3;
	} else if (argc > 5) {
		for (int role = 0; role < ROLES; role++) {
			if (strcmp(argv[1], role_names[role]) == 0)
				fail_role = (enum role)role;
		}
		fail_number = atoi(argv[2]);
		fail_count = (unsigned)atoi(argv[3]);
		fail_how = atoi(argv[4]);
		fails_on = fail_how ? argv[4][strlen(argv[4]) - 1] : '\0';
		fails_on = fails_on && strchr("+*!", fails_on) ? fails_on : '\0';
		for (unsigned i = 0; i < sizeof fault_names / sizeof fault_names[0]; i++) {
			if (strcmp(argv[4], fault_names[i]) == 0)
				fail_how = KILLED + (int)i;
			fails_on = fail_how == CHOSEN ? '+' : fails_on;
		}
		at = 5;
	}
	for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
		honest |= strcmp(argv[at], "--honest") == 0;
		sscanf(argv[at], "--tell=%d", &tell_fd);
		sscanf(argv[at], "--victim=%d", &victim_pid);
	}
	return at + 1 < argc && strcmp(argv[at], "--") == 0 ? argv + at + 1 : NULL;
}

int main(int argc, char **argv)
{
	char **command = parse(argc, argv);
	volatile int *listener = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!command || listener == MAP_FAILED)
		return 98;
	signal(SIGTERM, SIG_IGN); /* it is COMMAND's: we end with it */
	/* What is orphaned comes to us. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	*listener = -2;
	first_pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (first_pid == 0)
		run_command(command, listener);
	/* So that we are seen to reap: of an orphan that nobody would, hugexec makes no tracer. */
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	for (int tries = 0; *listener == -2 && tries < 5000; tries++)
		usleep(200);
	if (first_pid < 0 || *listener < 0)
		return 98;
	bool ended = supervise(*listener);
	reap(0);
	if (record)
		fclose(record);
	return !ended ? 99 : WIFSIGNALED(first_status) ? 128 + WTERMSIG(first_status) : WEXITSTATUS(first_status);
}
