/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot - a few nested functions beside big text (bigtext.py's assembly), for the tools that look at a program from
 * outside.
 *
 *   hot wait     print "ready" in the innermost function and wait there
 *   hot abort    abort in the innermost function
 *   hot spin     burn time in the innermost function
 *   hot call N   call the innermost function N times
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) long hot_innermost(const char *verb, long n)
{
	volatile unsigned long sum = 0;
	if (strcmp(verb, "abort") == 0)
		abort();
	if (strcmp(verb, "wait") == 0) {
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	for (long i = 0; i < n; i++)
		sum += (unsigned long)i;
	return (long)sum;
}

__attribute__((noinline)) long hot_middle(const char *verb, long n)
{
	long result = hot_innermost(verb, n);
	return result + 1;
}

__attribute__((noinline)) long hot_outer(const char *verb, long n)
{
	long result = hot_middle(verb, n);
	return result + 1;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "spin";
	long number = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
	long result = 0;
	if (strcmp(verb, "call") == 0) {
		for (long i = 0; i < number; i++)
			result += hot_outer(verb, 1);
	} else {
		result = hot_outer(verb, 400000000);
	}
	return result == 42;
}
