/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigtext - a program with as much text as one likes, which knows when its text is wrong.
 *
 * bigtext.py writes an assembly file with one block of code a 4 KiB page, each with a constant of its own.
 * bigtext_walk() runs through all of them and returns a sum over the constants; the same sum is computed here in data.
 *
 *   bigtext              walk once, print the sum, exit 0 (2 where the sum is wrong)
 *   bigtext exit N       the same, exit N
 *   bigtext idle         exit 0 at once, without a look at the text
 *   bigtext loop N       walk N times, print nothing but the sum
 *   bigtext sleep        walk, print "ready", wait for a signal
 *   bigtext seal         walk, have the kernel seal the text (mseal), print "ready", wait for a signal
 *   bigtext again N      walk, execute itself again N times
 *   bigtext unlink       walk, remove its own file, walk again
 *   bigtext abort        walk, abort()
 *   bigtext ids          walk, print user, group and capabilities
 *   bigtext collect N    walk, take N queued SIGRTMIN (blocked by whoever started us) that carry 0 .. N-1 in order
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern uint64_t bigtext_walk(uint64_t start);
extern const uint64_t bigtext_pages;

static uint64_t expected(uint64_t sum)
{
	for (uint64_t i = 0; i < bigtext_pages; i++) {
		sum += (i * 2654435761U) & 0x7fffffff;
		sum = sum << 1 | sum >> 63;
	}
	return sum;
}

static uint64_t walk_and_check(void)
{
	uint64_t sum = bigtext_walk(1);
	if (sum != expected(1)) {
		fprintf(stderr, "bigtext: the text is wrong: %llx\n", (unsigned long long)sum);
		exit(2);
	}
	return sum;
}

static void print_ids(void)
{
	char line[256];
	printf("uid %u %u gid %u %u\n", getuid(), geteuid(), getgid(), getegid());
	FILE *status = fopen("/proc/self/status", "r");
	while (status && fgets(line, sizeof line, status)) {
		if (strncmp(line, "CapEff", 6) == 0 || strncmp(line, "CapPrm", 6) == 0 ||
		    strncmp(line, "TracerPid", 9) == 0)
			fputs(line, stdout);
	}
}

/* Real-time signals are queued: one that is lost, doubled or out of order shows. */
static int collect(long count)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	puts("ready");
	fflush(stdout);
	for (long i = 0; i < count; i++) {
		if (sigtimedwait(&set, &info, &(struct timespec){.tv_sec = 20}) != SIGRTMIN ||
		    info.si_value.sival_int != i) {
			printf("signal %ld is missing\n", i);
			return 5;
		}
	}
	if (sigtimedwait(&set, &info, &(struct timespec){.tv_nsec = 1000000}) == SIGRTMIN) {
		printf("one signal too many: %d\n", info.si_value.sival_int);
		return 6;
	}
	puts("all there");
	return 0;
}

#define SYS_MSEAL 462 /* Linux 6.10 */

/* As a loader does that was asked to (-z memory-seal). */
static void seal(void)
{
	uintptr_t start = (uintptr_t)bigtext_walk / 4096 * 4096;
	if (syscall(SYS_MSEAL, start, (bigtext_pages + 1) * 4096, 0) < 0)
		puts("not sealed");
	puts("ready");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	long number = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
	if (strcmp(verb, "idle") == 0)
		return 0;
	uint64_t sum = walk_and_check();
	if (strcmp(verb, "loop") == 0) {
		for (long i = 1; i < number; i++)
			sum = bigtext_walk(sum);
	}
	printf("bigtext: %llu pages, sum %llx\n", (unsigned long long)bigtext_pages, (unsigned long long)sum);
	fflush(stdout);
	if (strcmp(verb, "exit") == 0)
		return (int)number;
	if (strcmp(verb, "seal") == 0)
		seal();
	if (strcmp(verb, "sleep") == 0) {
		puts("ready");
		fflush(stdout);
	}
	if (strcmp(verb, "sleep") == 0 || strcmp(verb, "seal") == 0) {
		for (;;)
			pause();
	}
	if (strcmp(verb, "again") == 0 && number > 0) {
		char left[16];
		snprintf(left, sizeof left, "%ld", number - 1);
		execl("/proc/self/exe", argv[0], "again", left, (char *)NULL);
		return 3;
	}
	if (strcmp(verb, "unlink") == 0) {
		if (unlink(argv[0]) < 0)
			return 4;
		walk_and_check();
		puts("unlinked");
	}
	if (strcmp(verb, "ids") == 0)
		print_ids();
	if (strcmp(verb, "collect") == 0)
		return collect(number);
	if (strcmp(verb, "abort") == 0)
		abort();
	return 0;
}
