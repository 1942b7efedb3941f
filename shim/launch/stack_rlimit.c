/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/stack_rlimit.h"

#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/resource.h>

#include "host/pages.h"

#define WANTED (1 * MIB) /* arguments and environment are part of the stack */

static struct {
	bool is_raised;
	struct rlimit before;
} limit;

void stack_make_room(void)
{
	struct rlimit raised;
	if (getrlimit(RLIMIT_STACK, &limit.before) < 0 || limit.before.rlim_cur == limit.before.rlim_max ||
	    stack_room() >= STACK_FOR_TRACER)
		return;
	raised = limit.before;
	raised.rlim_cur += WANTED;
	if (raised.rlim_cur > raised.rlim_max)
		raised.rlim_cur = raised.rlim_max;
	limit.is_raised = setrlimit(RLIMIT_STACK, &raised) == 0;
}

void stack_give_back(void)
{
	if (limit.is_raised)
		setrlimit(RLIMIT_STACK, &limit.before);
	limit.is_raised = false;
}

uint64_t stack_room(void)
{
	struct rlimit now;
	if (getrlimit(RLIMIT_STACK, &now) < 0 || now.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	/* The program's name is what lies highest, in the last page but for a word or two (fs/exec.c). */
	uint64_t used =
	    getauxval(AT_EXECFN) - (uint64_t)(uintptr_t)__builtin_frame_address(0) + host_pages()->base_bytes;
	return now.rlim_cur > used ? now.rlim_cur - used : 0;
}
