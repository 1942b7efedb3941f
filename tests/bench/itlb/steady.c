/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steady - preloaded into a program, makes clocks and random numbers the same in each run: a clock goes on by a
 * microsecond each time that it is read.
 */
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#define BEGIN     1577836800 /* 2020-01-01 */
#define MICROSECS 1000000

static long reads;

static long seconds(void)
{
	return BEGIN + ++reads / MICROSECS;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	(void)clock;
	out->tv_sec = seconds();
	out->tv_nsec = reads % MICROSECS * 1000;
	return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	(void)zone;
	out->tv_sec = seconds();
	out->tv_usec = reads % MICROSECS;
	return 0;
}

time_t time(time_t *out)
{
	time_t now = seconds();
	if (out)
		*out = now;
	return now;
}

ssize_t getrandom(void *out, size_t size, unsigned flags)
{
	(void)flags;
	memset(out, 0x5a, size);
	return (ssize_t)size;
}

int getentropy(void *out, size_t size)
{
	memset(out, 0x5a, size);
	return 0;
}
