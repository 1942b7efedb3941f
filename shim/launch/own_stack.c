/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/own_stack.h"

#include <sys/mman.h>

#include "arch/arch.h"
#include "base/size.h"

#define STACK_BYTES (1 * MIB)  /* measured: 96 KiB for the tracer (gcc 12, glibc 2.36) */
#define GUARD_BYTES (64 * KIB) /* a page, whatever its size */

int own_stack_call(int (*work)(void *context), void *context)
{
#ifdef __SANITIZE_ADDRESS__ /* it knows where the stack is, and its frames are some times as large */
	return work(context);
#else
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE) < 0)
		return work(context);
	return arch_call_on_stack(work, context, stack + STACK_BYTES);
#endif
}
