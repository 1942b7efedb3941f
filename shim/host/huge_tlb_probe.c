/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "arch/code.h"
#include "base/missing.h"
#include "host/huge_tlb.h"
#include "host/pages.h"

#define PAGE      host_pages()->base_bytes
#define HUGE_PAGE host_pages()->huge_bytes
#define LINE      64
/* More pages than any first-level TLB has entries, and lines that fit a first-level cache of 32 KiB in 8 ways. */
#define STEPS     384
#define FEW       16
#define LAPS      24
#define ROUNDS    24
#define ORDERED   (1U << 9) /* a power of two above STEPS */

/* The step that is the INDEX-th in a fixed disorder of all STEPS: a full cycle modulo ORDERED, what is beyond left out.
 */
static void disorder(unsigned order[STEPS])
{
	unsigned at = 0, value = 1;
	while (at < STEPS) {
		value = (value * 109 + 89) % ORDERED;
		if (value < STEPS)
			order[at++] = value;
	}
}

/* Of a step, where it stands if all of them lie in so many PAGES: its lines are spread over all sets of a cache. */
static char *place(char *base, unsigned step, unsigned pages)
{
	unsigned lines = STEPS / pages, page = step % pages, line = (step / pages + lines * page) % (PAGE / LINE);
	return base + (size_t)page * PAGE + (size_t)line * LINE;
}

static double nanoseconds(const struct timespec *from, const struct timespec *to)
{
	return (double)(to->tv_sec - from->tv_sec) * 1e9 + (double)(to->tv_nsec - from->tv_nsec);
}

static double time_loads(char *base, unsigned pages)
{
	unsigned order[STEPS];
	struct timespec from, to;
	disorder(order);
	for (unsigned i = 0; i < STEPS; i++)
		*(char **)(void *)place(base, order[i], pages) = place(base, order[(i + 1) % STEPS], pages);
	char *at = place(base, order[0], pages);
	for (unsigned lap = 0; lap <= LAPS; lap++) {
		if (lap == 1) /* the first lap warms up */
			clock_gettime(CLOCK_MONOTONIC, &from);
		for (unsigned i = 0; i < STEPS; i++)
			at = *(char *volatile *)(void *)at;
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	return nanoseconds(&from, &to) / (STEPS * LAPS);
}

/* -1: BASE cannot be made executable here. */
static double time_jumps(char *base, unsigned pages)
{
	unsigned order[STEPS];
	struct timespec from, to;
	disorder(order);
	if (mprotect(base, HUGE_PAGE, PROT_READ | PROT_WRITE) < 0)
		return -1;
	for (unsigned i = 0; i + 1 < STEPS; i++)
		arch_write_jump(place(base, order[i], pages), place(base, order[i + 1], pages));
	arch_write_return(place(base, order[STEPS - 1], pages));
	__builtin___clear_cache(base, base + HUGE_PAGE);
	if (mprotect(base, HUGE_PAGE, PROT_READ | PROT_EXEC) < 0)
		return -1;
	void (*run)(void);
	char *start = place(base, order[0], pages);
	memcpy(&run, &start, sizeof run);
	run();
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned lap = 0; lap < LAPS; lap++)
		run();
	clock_gettime(CLOCK_MONOTONIC, &to);
	return nanoseconds(&from, &to) / (STEPS * LAPS);
}

/* Small pages, touched in disorder so that no neighbours in memory become one entry (AMD and Arm join such). */
static char *small_pages(char *room)
{
	unsigned order[STEPS];
	if (madvise(room, HUGE_PAGE, MADV_NOHUGEPAGE) < 0 && errno != EINVAL) /* EINVAL: a kernel without THP */
		return NULL;
	disorder(order);
	for (unsigned i = 0; i < STEPS; i++)
		room[(size_t)order[i] * PAGE] = 1;
	return room;
}

/* One huge page, which the kernel says it is. */
static char *huge_page(char *room)
{
	madvise(room, HUGE_PAGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < HUGE_PAGE; i += PAGE)
		room[i] = 1;
	return madvise(room, HUGE_PAGE, MADV_COLLAPSE) == 0 ? room : NULL;
}

static void time_rounds(double (*time_steps)(char *base, unsigned pages), char *small, char *huge,
                        struct tlb_opinion *out)
{
	struct tlb_round rounds[ROUNDS];
	for (unsigned i = 0; i < ROUNDS; i++) {
		rounds[i].many_small = time_steps(small, STEPS);
		rounds[i].many_huge = time_steps(huge, STEPS);
		rounds[i].few_small = time_steps(small, FEW);
		rounds[i].few_huge = time_steps(huge, FEW);
		if (rounds[i].many_small < 0 || rounds[i].many_huge < 0) {
			*out = (struct tlb_opinion){.verdict = TLB_UNKNOWN};
			return;
		}
	}
	tlb_judge(rounds, ROUNDS, out);
}

void huge_tlb_probe(struct huge_tlb *out)
{
	*out = (struct huge_tlb){.verdict = TLB_UNKNOWN, .loads.verdict = TLB_UNKNOWN, .jumps.verdict = TLB_UNKNOWN};
	size_t bytes = 3 * (size_t)HUGE_PAGE;
	char *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return;
	char *first = room + (HUGE_PAGE - (uintptr_t)room % HUGE_PAGE) % HUGE_PAGE;
	char *huge = huge_page(first);
	char *small = small_pages(first + HUGE_PAGE);
	out->has_huge_page = huge != NULL;
	if (huge && small) {
		time_rounds(time_loads, small, huge, &out->loads);
		time_rounds(time_jumps, small, huge, &out->jumps);
		out->verdict = tlb_conclude(&out->loads, &out->jumps);
	}
	munmap(room, bytes);
}
