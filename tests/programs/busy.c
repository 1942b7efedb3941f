/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busy - a program that notices whatever happens to it while it runs: linked with bigtext.py's text.
 *
 *   busy work            threads that run through the text, start other threads, and sleep in system calls; signals
 *                        for the main thread, numbered. SIGTERM: print "ok" and how often, exit 0. Whatever is wrong:
 *                        exit 2.
 *   busy start           only start threads, from several; SIGTERM: as above
 *   busy count           take numbered signals that a child sends until a byte comes on standard input; print "ok"
 *   busy again N         execute this N times more, each time from another thread than the first; print "ok"
 *   busy becomes         at a byte on standard input execute "busy rest nanosleep" from another thread
 *   busy forks           at each byte on standard input fork from another thread; the child prints its number
 *   busy add             two threads of one processor add to one number by restartable sequences; SIGTERM: as above
 *   busy dispatch        work in user mode with system calls dispatched (Syscall User Dispatch); SIGTERM: as above
 *   busy alarmed CALL MS as rest, but SIGUSR1 has a handler, which ends the call
 *   busy rest CALL [MS]  print "ready", sleep half a second (MS) or until a byte comes in a system call; print its end
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern uint64_t bigtext_walk(uint64_t start);
extern const uint64_t bigtext_pages;

#define REST_MS  500
#define STARTERS 4

static atomic_bool ends;
static atomic_ulong walks, threads_started, sleeps, signals, numbers;
static int pipe_fds[2];

static uint64_t expected(uint64_t sum)
{
	for (uint64_t i = 0; i < bigtext_pages; i++) {
		sum += (i * 2654435761U) & 0x7fffffff;
		sum = sum << 1 | sum >> 63;
	}
	return sum;
}

static int64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void must(int holds, const char *what)
{
	if (holds)
		return;
	int errnum = errno;
	printf("wrong: %s (%s)\n", what, strerror(errnum));
	fflush(stdout);
	_exit(2);
}

static void walk(void)
{
	must(bigtext_walk(7) == expected(7), "the text");
	atomic_fetch_add(&walks, 1);
}

static void *walker(void *unused)
{
	do
		walk();
	while (!ends);
	return unused;
}

static void *short_lived(void *unused)
{
	walk();
	return unused;
}

static void *starter(void *unused)
{
	do {
		pthread_t thread;
		must(pthread_create(&thread, NULL, short_lived, NULL) == 0, "starting a thread");
		must(pthread_join(thread, NULL) == 0, "a thread's end");
		atomic_fetch_add(&threads_started, 1);
	} while (!ends);
	return unused;
}

/* Calls that end by themselves, neither before their time nor with an error: no handler runs in this thread. */
static void *sleeper(void *unused)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int word = 0;
	do {
		int64_t began = now_us();
		must(nanosleep(&pause, NULL) == 0 && now_us() - began >= 5000, "nanosleep");
		began = now_us();
		must(poll(NULL, 0, 5) == 0 && now_us() - began >= 5000, "poll");
		began = now_us();
		must(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &pause, NULL, 0) == -1 && errno == ETIMEDOUT &&
		         now_us() - began >= 5000,
		     "futex");
		struct epoll_event event;
		int got = epoll_wait(epoll_fd, &event, 1, 5); /* may be interrupted, says signal(7) */
		must(got == 0 || (got == -1 && errno == EINTR), "epoll_wait");
		atomic_fetch_add(&sleeps, 1);
	} while (!ends);
	close(epoll_fd);
	return unused;
}

static void *writer(void *unused)
{
	for (uint64_t number = 0; !ends; number++) {
		must(write(pipe_fds[1], &number, sizeof number) == sizeof number, "write");
		if (number % 100 == 0)
			usleep(1000);
	}
	close(pipe_fds[1]);
	return unused;
}

static void *reader(void *unused)
{
	uint64_t number;
	ssize_t got;
	for (uint64_t next = 0; (got = read(pipe_fds[0], &number, sizeof number)) != 0; next++)
		must(got == sizeof number && number == next, "read");
	return unused;
}

static void on_alarm(int number)
{
	(void)number;
	atomic_fetch_add(&signals, 1);
}

static void on_number(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	must((unsigned long)info->si_value.sival_int == atomic_fetch_add(&numbers, 1), "a queued signal is missing");
}

static void on_end(int number)
{
	(void)number;
	ends = true;
}

static int end_at_once(void *unused)
{
	(void)unused;
	return 0;
}

/* Nothing but clone(2), where a thread stops for its tracer on its own, too. */
static void *quick_starter(void *unused)
{
	static char stacks[STARTERS][65536];
	static atomic_uint started;
	char *stack = stacks[atomic_fetch_add(&started, 1) % STARTERS];
	while (!ends) {
		int tid = 1;
		int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		            CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
		must(clone(end_at_once, stack + sizeof stacks[0], flags, NULL, NULL, NULL, &tid) > 0, "clone");
		while (__atomic_load_n(&tid, __ATOMIC_ACQUIRE) != 0)
			sched_yield();
		atomic_fetch_add(&threads_started, 1);
	}
	return unused;
}

static int start(void)
{
	pthread_t threads[STARTERS];
	sigset_t mask;
	int number;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	for (size_t i = 0; i < STARTERS; i++)
		must(pthread_create(&threads[i], NULL, quick_starter, NULL) == 0, "pthread_create");
	puts("ready");
	fflush(stdout);
	sigwait(&mask, &number);
	ends = true;
	for (size_t i = 0; i < STARTERS; i++)
		pthread_join(threads[i], NULL);
	printf("ok: threads %lu\n", threads_started);
	return 0;
}

static int work(void)
{
	static void *(*const kinds[])(void *) = {walker, walker, starter, sleeper, writer, reader};
	pthread_t threads[sizeof kinds / sizeof kinds[0]];
	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	must(pipe2(pipe_fds, O_CLOEXEC) == 0, "pipe");
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		must(pthread_create(&threads[i], NULL, kinds[i], NULL) == 0, "pthread_create");
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm, .sa_flags = SA_RESTART}, NULL);
	sigaction(SIGRTMIN, &(struct sigaction){.sa_sigaction = on_number, .sa_flags = SA_SIGINFO}, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_end}, NULL);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
	puts("ready");
	fflush(stdout);
	for (int number = 0; !ends; number++) {
		must(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = number}) == 0, "sigqueue");
		walk();
		usleep(100);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		pthread_join(threads[i], NULL);
	printf("ok: walks %lu, threads %lu, sleeps %lu, signals %lu, numbers %lu\n", walks, threads_started, sleeps,
	       signals, numbers);
	return 0;
}

/* Returns how many it has sent. */
static unsigned long send_numbers(pid_t to)
{
	struct pollfd told = {.fd = 0, .events = POLLIN};
	unsigned long sent = 0;
	while (poll(&told, 1, 0) == 0) {
		if (sigqueue(to, SIGRTMIN, (union sigval){.sival_int = (int)sent}) == 0)
			sent++;
		else if (errno != EAGAIN)
			break;
	}
	return sent;
}

/* None may be lost, doubled, or come out of turn. */
static int count(void)
{
	pid_t parent = getpid();
	atomic_ulong *sent = mmap(NULL, sizeof *sent, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(sent != MAP_FAILED, "mmap");
	sigaction(SIGRTMIN, &(struct sigaction){.sa_sigaction = on_number, .sa_flags = SA_SIGINFO}, NULL);
	puts("ready");
	fflush(stdout);
	if (fork() == 0) {
		*sent = send_numbers(parent);
		_exit(0);
	}
	while (wait(NULL) < 0)
		must(errno == EINTR, "wait");
	while (numbers < *sent)
		usleep(50);
	puts("ok");
	return 0;
}

static void *next_program(void *words)
{
	char byte;
	if (strcmp(((char **)words)[1], "rest") == 0) {
		puts("ready");
		fflush(stdout);
		must(read(0, &byte, 1) == 1, "read");
	}
	execv("/proc/self/exe", words);
	must(0, "execv");
	return NULL;
}

/* Another thread executes a program, which has the first one's number then. */
static int become(char **words)
{
	pthread_t thread;
	must(pthread_create(&thread, NULL, next_program, words) == 0, "pthread_create");
	for (;;)
		pause();
}

static int again(char *self, unsigned long times, bool is_first)
{
	char left[24];
	snprintf(left, sizeof left, "%lu", times - 1);
	if (is_first || times == 0)
		puts(is_first ? "ready" : "ok");
	fflush(stdout);
	return times == 0 ? 0 : become((char *[]){self, "again", left, "on", NULL});
}

static void *forker(void *unused)
{
	char byte;
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) == 1) {
		if (fork() != 0)
			continue;
		walk();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		printf("%d\n", (int)getpid());
		fflush(stdout);
		pause();
	}
	exit(0);
	return unused;
}

static int forks(void)
{
	pthread_t thread;
	must(pthread_create(&thread, NULL, forker, NULL) == 0, "pthread_create");
	for (;;)
		pause();
}

#ifdef __x86_64__
/* One addition by a restartable sequence of some 100 us. Returns whether it was done, not aborted. */
static int add_in_sequence(struct rseq *area, uint64_t *number)
{
	int done;
	__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n"
	                 ".balign 32\n"
	                 "3: .long 0, 0\n"
	                 ".quad 1f, 2f - 1f, 4f\n"
	                 ".popsection\n"
	                 "lea 3b(%%rip), %%rax\n"
	                 "mov %%rax, 8(%[area])\n"
	                 "1: mov (%[number]), %%rdx\n"
	                 "mov $300000, %%eax\n"
	                 "6: dec %%eax\n"
	                 "jnz 6b\n"
	                 "inc %%rdx\n"
	                 "mov %%rdx, (%[number])\n"
	                 "2: mov $1, %[done]\n"
	                 "jmp 5f\n"
	                 ".long 0x53053053\n"
	                 "4: mov $0, %[done]\n"
	                 "5:\n"
	                 : [done] "=&r"(done)
	                 : [area] "r"(area), [number] "r"(number)
	                 : "rax", "rdx", "memory", "cc");
	return done;
}

static uint64_t added;

static void *adder(void *count)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	while (!ends)
		*(uint64_t *)count += (uint64_t)add_in_sequence(area, &added);
	return NULL;
}

static int add(void)
{
	cpu_set_t one;
	pthread_t thread;
	uint64_t counts[2] = {0};
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one); /* whichever we may use */
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_end}, NULL);
	must(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
	must(pthread_create(&thread, NULL, adder, &counts[1]) == 0, "pthread_create");
	puts("ready");
	fflush(stdout);
	adder(&counts[0]);
	pthread_join(thread, NULL);
	if (counts[0] + counts[1] == added)
		printf("ok: additions %lu\n", added);
	else
		printf("wrong: %ld of %lu additions are lost\n", (long)(counts[0] + counts[1] - added), added);
	return 0;
}
#endif

static volatile char selector; /* 1: system calls are dispatched, also the one that ends a handler */

static void on_end_of_dispatch(int number)
{
	selector = 0;
	on_end(number);
}

static int dispatch(void)
{
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_end_of_dispatch}, NULL);
	must(prctl(59, 1, 0, 0, &selector) == 0, "PR_SET_SYSCALL_USER_DISPATCH"); /* Linux 5.11 */
	puts("ready");
	fflush(stdout);
	if (!ends)
		selector = 1;
	unsigned long rounds = 0;
	while (!ends)
		rounds++;
	selector = 0;
	printf("ok: rounds %lu\n", rounds);
	return 0;
}

static long rest(const char *call, int ms)
{
	struct pollfd poll_fd = {.fd = 0, .events = POLLIN};
	struct timespec rest_time = {ms / 1000, ms % 1000 * 1000000L};
	struct epoll_event event = {.events = EPOLLIN};
	fd_set set;
	char byte;
	int word = 0;
	sigset_t mask;
	sigemptyset(&mask);
	FD_ZERO(&set);
	FD_SET(0, &set);
	if (strcmp(call, "nanosleep") == 0)
		return nanosleep(&rest_time, NULL);
	if (strcmp(call, "poll") == 0)
		return poll(&poll_fd, 1, -1);
	if (strcmp(call, "poll-timeout") == 0)
		return poll(NULL, 0, ms);
	if (strcmp(call, "ppoll") == 0)
		return ppoll(&poll_fd, 1, NULL, &mask);
	if (strcmp(call, "select") == 0)
		return select(1, &set, NULL, NULL, NULL);
	if (strcmp(call, "read") == 0)
		return read(0, &byte, 1);
	if (strcmp(call, "futex") == 0)
		return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &rest_time, NULL, 0);
	if (strcmp(call, "sigtimedwait") == 0) {
		sigaddset(&mask, SIGUSR1);
		return sigtimedwait(&mask, NULL, &rest_time);
	}
	if (strcmp(call, "wait") == 0) {
		if (fork() == 0) {
			nanosleep(&rest_time, NULL);
			_exit(0);
		}
		return wait(NULL) > 0;
	}
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &event);
	return epoll_wait(epoll_fd, &event, 1, -1);
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "again") == 0)
		return again(argv[0], strtoul(argv[2], NULL, 10), argc == 3);
	walk();
	if (argc > 1 && strcmp(argv[1], "work") == 0)
		return work();
	if (argc > 1 && strcmp(argv[1], "forks") == 0)
		return forks();
#ifdef __x86_64__
	if (argc > 1 && strcmp(argv[1], "add") == 0)
		return add();
#endif
	if (argc > 1 && strcmp(argv[1], "dispatch") == 0)
		return dispatch();
	if (argc > 1 && strcmp(argv[1], "start") == 0)
		return start();
	if (argc > 1 && strcmp(argv[1], "count") == 0)
		return count();
	if (argc > 1 && strcmp(argv[1], "becomes") == 0)
		return become((char *[]){argv[0], "rest", "nanosleep", NULL});
	int ms = argc > 3 ? atoi(argv[3]) : REST_MS;
	if (argc > 1 && strcmp(argv[1], "alarmed") == 0)
		sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_alarm}, NULL);
	puts("ready");
	fflush(stdout);
	int64_t began = now_us();
	errno = 0;
	long result = rest(argc > 2 ? argv[2] : "", ms);
	int errnum = errno;
	int64_t took_ms = (now_us() - began) / 1000;
	walk();
	printf("%ld %s, %s\n", result, strerror(errnum), took_ms >= ms ? "in time" : "too early");
	return 0;
}
