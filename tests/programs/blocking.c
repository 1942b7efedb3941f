/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocking - a library that blocks all signals before its program's entry point, and tells what was blocked before.
 */
#include <signal.h>
#include <stddef.h>

sigset_t before;

__attribute__((constructor)) static void block(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
}
