/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler PID HZ - watch the thread PID as hugexecctl advise does, HZ times a second of its running time, until SIGTERM
 * comes. Prints how many samples there were.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/perf.h"

static volatile sig_atomic_t has_to_end;

static void end(int number)
{
	(void)number;
	has_to_end = 1;
}

static void count(void *context, uint64_t ip)
{
	(void)ip;
	++*(uint64_t *)context;
}

int main(int argc, char **argv)
{
	struct perf_sampler sampler;
	uint64_t samples = 0;
	signal(SIGTERM, end);
	if (argc != 3 || perf_sampler_open(atoi(argv[1]), (unsigned)atoi(argv[2]), &sampler) < 0) {
		fprintf(stderr, "sampler: %s\n", argc == 3 ? strerror(errno) : "it takes a PID and a number");
		return 1;
	}
	while (!has_to_end) {
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		perf_sampler_drain(&sampler, count, &samples);
	}
	perf_sampler_drain(&sampler, count, &samples);
	perf_sampler_close(&sampler);
	printf("%" PRIu64 "\n", samples);
	return 0;
}
