/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guarded - an arm64 program without libc, linked with bigtext.py's text, all of which has landing pads: it runs
 * through its text, prints "ready" and waits for a signal.
 */
#include <stdint.h>
#include <sys/syscall.h>

extern uint64_t bigtext_walk(uint64_t start);

static long call(long number, long first, long second, long third)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = first;
	register long x1 __asm__("x1") = second;
	register long x2 __asm__("x2") = third;
	register long x3 __asm__("x3") = 0;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

void _start(void);

void _start(void)
{
	uint64_t (*volatile walk)(uint64_t) = bigtext_walk;
	if (walk(1) != 0)
		call(SYS_write, 1, (long)"ready\n", 6);
	for (;;)
		call(SYS_ppoll, 0, 0, 0);
}
