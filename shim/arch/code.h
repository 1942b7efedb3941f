/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.h - machine code that we write ourselves: a jump, and a return. x86-64; another processor is another such
 * header.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#ifndef __x86_64__
#error "no port to this processor"
#endif

/* `jmp`, from AT to TO, which are less than 2 GiB apart. */
static inline void arch_write_jump(char *at, const char *to)
{
	int32_t distance = (int32_t)(to - (at + 5));
	*at = (char)0xe9;
	memcpy(at + 1, &distance, sizeof distance);
}

/* `ret`. */
static inline void arch_write_return(char *at)
{
	*at = (char)0xc3;
}
