/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.h - machine code that we write ourselves: a jump, and a return.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

/* `jmp`, from AT to TO, which are less than 128 MiB apart. */
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

#elif defined(__aarch64__)

/* `b`, from AT to TO, which are less than 128 MiB apart. */
static inline void arch_write_jump(char *at, const char *to)
{
	uint32_t instruction = 0x14000000 | ((uint32_t)((to - at) / 4) & 0x3ffffff);
	memcpy(at, &instruction, sizeof instruction);
}

/* `ret`. */
static inline void arch_write_return(char *at)
{
	uint32_t instruction = 0xd65f03c0;
	memcpy(at, &instruction, sizeof instruction);
}

#else
#error "no port to this processor"
#endif
