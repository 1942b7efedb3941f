/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe - prints all that a process can know of itself, a line each. Run plain and under hugexec the output is the
 * same.
 *
 * Addresses are random by nature: they are printed relative to the mapping that they lie in. The executable mappings of
 * the program itself are the one thing that hugexec changes; they are joined into one line with their whole extent.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void ids(void)
{
	uid_t r, e, s;
#ifndef PROBE_WITHOUT_PIDS
	printf("pid: %d\nppid: %d\npgid: %d\nsid: %d\n", getpid(), getppid(), getpgid(0), getsid(0));
#endif
	printf("foreground: %d %s\n", tcgetpgrp(0), errno == ENOTTY ? "no tty" : "");
	printf("tty: %s\n", ttyname(0) ? ttyname(0) : "none");
	getresuid(&r, &e, &s);
	printf("uids: %u %u %u\n", r, e, s);
	getresgid(&r, &e, &s);
	printf("gids: %u %u %u\n", r, e, s);
	char cwd[4096];
	printf("cwd: %s\n", getcwd(cwd, sizeof cwd));
	mode_t mask = umask(0);
	umask(mask);
	printf("umask: %o\n", mask);
	char link[4096] = "";
	readlink("/proc/self/exe", link, sizeof link - 1);
	printf("exe: %s\n", link);
	memset(link, 0, sizeof link);
	readlink("/proc/self/root", link, sizeof link - 1);
	printf("root: %s\n", link);
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

static void files(void)
{
	struct dirent **names;
	int count = scandir("/proc/self/fd", &names, NULL, by_number);
	for (int i = 0; i < count; i++) {
		int fd = atoi(names[i]->d_name);
		char path[64], link[4096] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (names[i]->d_name[0] == '.' || readlink(path, link, sizeof link - 1) < 0 || strstr(link, "/fd"))
			continue;
		printf("fd %d: %s flags %x fdflags %x offset %lld\n", fd, link, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD),
		       (long long)lseek(fd, 0, SEEK_CUR));
	}
}

static void words(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		printf("argv %d: %s\n", i, argv[i]);
	for (int i = 0; environ[i]; i++)
		printf("env %d: %s\n", i, environ[i]);
}

/* Lengths and contents of /proc files that are about arguments: as the kernel sees them. */
static void proc_file(const char *name)
{
	char path[64], text[65536];
	snprintf(path, sizeof path, "/proc/self/%s", name);
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text);
	close(fd);
	printf("%s: %zd:", name, got);
	for (ssize_t i = 0; i < got; i++)
		putchar(text[i] == '\0' ? '|' : text[i] == '\n' ? ';' : text[i]);
	putchar('\n');
}

static int is_pointer_to_data(unsigned long type)
{
	return type == AT_RANDOM || type == AT_EXECFN || type == AT_PLATFORM || type == AT_BASE_PLATFORM;
}

static int is_address(unsigned long type)
{
	return type == AT_PHDR || type == AT_BASE || type == AT_ENTRY || type == AT_SYSINFO_EHDR ||
	       is_pointer_to_data(type);
}

static void auxv(void)
{
	uint64_t vector[128];
	int fd = open("/proc/self/auxv", O_RDONLY);
	ssize_t words_got = read(fd, vector, sizeof vector) / 8;
	close(fd);
	for (ssize_t i = 0; i + 1 < words_got && vector[i] != AT_NULL; i += 2) {
		unsigned long type = vector[i];
		if (getauxval(type) != vector[i + 1])
			printf("auxv %lu: the stack and the kernel differ\n", type);
		if (is_address(type))
			printf("auxv %lu: an address, low bits %lx\n", type,
			       (unsigned long)vector[i + 1] & (is_pointer_to_data(type) ? 0 : 0xfff));
		else
			printf("auxv %lu: %lx\n", type, (unsigned long)vector[i + 1]);
	}
	printf("execfn: %s platform: %s\n", (char *)getauxval(AT_EXECFN), (char *)getauxval(AT_PLATFORM));
}

static void limits(void)
{
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;
		getrlimit(i, &limit);
		printf("limit %d: %lx %lx\n", i, (unsigned long)limit.rlim_cur, (unsigned long)limit.rlim_max);
	}
}

static void signals(void)
{
	sigset_t mask, pending;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	sigpending(&pending);
	for (int i = 1; i < 65; i++) {
		struct sigaction action;
		if (sigaction(i, NULL, &action) < 0)
			continue;
		printf("signal %d: %s%s%s flags %x\n", i,
		       action.sa_handler == SIG_DFL   ? "default"
		       : action.sa_handler == SIG_IGN ? "ignored"
		                                      : "handled",
		       sigismember(&mask, i) ? " blocked" : "", sigismember(&pending, i) ? " pending" : "",
		       (unsigned)action.sa_flags);
	}
	stack_t stack;
	sigaltstack(NULL, &stack);
	printf("altstack: %x %zu\n", (unsigned)stack.ss_flags, stack.ss_size);
}

static void attributes(void)
{
	struct sched_param param;
	cpu_set_t cpus;
	int value = 0;
	sched_getparam(0, &param);
	sched_getaffinity(0, sizeof cpus, &cpus);
	printf("nice: %d\nscheduler: %d %d\ncpus: %d\n", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0),
	       param.sched_priority, CPU_COUNT(&cpus));
	printf("personality: %x\n", (unsigned)personality(0xffffffff));
	printf("dumpable: %d\nno_new_privs: %d\nseccomp: %d\nkeepcaps: %d\nsecurebits: %d\ntimerslack: %d\n",
	       prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP),
	       prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECUREBITS), prctl(PR_GET_TIMERSLACK));
	prctl(PR_GET_PDEATHSIG, &value);
	printf("pdeathsig: %d\n", value);
	prctl(PR_GET_CHILD_SUBREAPER, &value);
	printf("subreaper: %d\nthp: %d\nmce: %d\n", value, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0),
	       prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	for (int i = 0; i < 3; i++) {
		struct itimerval timer;
		getitimer(i, &timer);
		printf("timer %d: %s\n", i, timer.it_value.tv_sec || timer.it_value.tv_usec ? "armed" : "none");
	}
	int mode = 0;
	syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
	printf("mempolicy: %d\nioprio: %ld\n", mode, syscall(SYS_ioprio_get, 1, 0));
	siginfo_t info;
	int waited = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
	printf("children to wait for: %d %s\n", waited, waited < 0 ? strerror(errno) : "");
}

/* Lines of /proc/self/status that do not change by themselves from run to run. */
static void status(void)
{
	static const char *const changing[] = {"Vm",           "Rss",  "voluntary", "nonvoluntary",
	                                       "HugetlbPages", "Cpus", "Mems",      "THP_enabled"};
	char line[8192];
	FILE *file = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof line, file)) {
		int skip = 0;
		for (size_t i = 0; i < sizeof changing / sizeof changing[0]; i++)
			skip |= strncmp(line, changing[i], strlen(changing[i])) == 0;
#ifdef PROBE_WITHOUT_PIDS
		skip |= strncmp(line, "Pid:", 4) == 0 || strncmp(line, "Tgid:", 5) == 0 ||
		        strncmp(line, "NS", 2) == 0 || strncmp(line, "SigQ:", 5) == 0;
#endif
		if (!skip)
			printf("status %s", line);
	}
	fclose(file);
}

/* Each object's mappings with sizes, offsets and permissions; the program's text as one. */
static void maps(void)
{
	char line[8192], exe[4096] = "";
	unsigned long text_bytes = 0;
	int heaps = 0;
	readlink("/proc/self/exe", exe, sizeof exe - 1);
	FILE *file = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, file)) {
		unsigned long start, end, offset, inode;
		char perms[8], device[16], path[4096] = "";
		sscanf(line, "%lx-%lx %7s %lx %15s %lu %4095[^\n]", &start, &end, perms, &offset, device, &inode, path);
		char *name = path + strspn(path, " ");
		if (strcmp(perms, "r-xp") == 0 && (strcmp(name, exe) == 0 || strncmp(name, "/memfd:", 7) == 0)) {
			text_bytes += end - start;
			continue;
		}
		/* Sizes of these hang on where their random starts are; where the heap is depends on where the program
		 * is. */
		if (strcmp(name, "[heap]") == 0) {
			heaps++;
			continue;
		}
		if (strcmp(name, "[stack]") == 0)
			end = start;
		printf("map: %lx %s %lx %s %s\n", end - start, perms, offset, device, name);
	}
	fclose(file);
	printf("text: %lx\nheaps: %d\n", text_bytes, heaps);
}

static void tasks(void)
{
	struct dirent **names;
	printf("threads: %d\n", scandir("/proc/self/task", &names, NULL, NULL) - 2);
	char path[64], text[256] = "";
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	int fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
		text[0] = '\0';
	close(fd);
	printf("children: %s\n", text);
	for (const char *const *name = (const char *const[]){"ipc", "mnt", "net", "pid", "pid_for_children", "user",
	                                                     "uts", "cgroup", "time", NULL};
	     *name; name++) {
		char link[128] = "";
		snprintf(path, sizeof path, "/proc/self/ns/%s", *name);
		readlink(path, link, sizeof link - 1);
		printf("ns: %s\n", link);
	}
}

extern uint64_t bigtext_walk(uint64_t start) __attribute__((weak));

/* Every page of the text that is linked with us is executed, and has a say in the sum (bigtext.py). */
static void text(void)
{
	if (bigtext_walk)
		printf("text says: %llx\n", (unsigned long long)bigtext_walk(1));
}

/* Where we are asked to: say so, and wait for a line before we look at anything. */
static void wait_for_leave(void)
{
	char byte = 0;
	const char *how = getenv("PROBE_WAITS");
	if (!how)
		return;
	write(1, "ready\n", 6);
	if (strcmp(how, "poll") == 0) /* restarted by restart_syscall(2), where something stops it */
		poll(&(struct pollfd){.fd = 0, .events = POLLIN}, 1, 100000);
	while (byte != '\n' && read(0, &byte, 1) == 1)
		;
}

int main(int argc, char **argv)
{
	wait_for_leave();
	ids();
	files();
	words(argc, argv);
	proc_file("cmdline");
	proc_file("environ");
	proc_file("comm");
	proc_file("cgroup");
	proc_file("oom_score_adj");
	proc_file("coredump_filter");
	proc_file("timerslack_ns");
	proc_file("loginuid");
	proc_file("attr/current");
	proc_file("wchan");
	auxv();
	limits();
	signals();
	attributes();
	status();
	tasks();
	maps();
	text();
	return 42;
}
