/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_arch.h - what files and names say of the processor: ELF headers, ld.so's search, setarch(8).
 */
#pragma once

#include <stddef.h>

#if defined(__x86_64__)

/* The names that setarch(8) has on this processor, besides those that it has on each. */
#define ARCH_SETARCH_NAMES "i386", "x86_64",

/* Folders that the loaders of Debian and of Fedora look into; what is not for this program is passed over, as ld.so
 * does. */
#define LOADER_FOLDERS "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:/lib:/usr/lib"

/* Of an entry of ld.so.cache: FLAG_ELF_LIBC6 | FLAG_X8664_LIB64 (glibc, sysdeps/generic/ldconfig.h). */
#define LD_CACHE_FLAGS 0x0303

/* What $LIB and $PLATFORM may stand for; which of them is told by the loader's build and the processor. */
#define LOADER_LIB_NAMES      "lib/x86_64-linux-gnu", "lib64", "lib"
#define LOADER_PLATFORM_NAMES "x86_64", "haswell", "xeon_phi"

/* Folders below glibc-hwcaps, the best first and NULL at the end, and how many there are. */
#define LOADER_LEVEL_NAMES "x86-64-v4", "x86-64-v3", "x86-64-v2", NULL
#define LOADER_LEVELS      3

/*
 * The index of the best level that this processor has; LOADER_LEVELS if it has none. A few features stand for all
 * of a level.
 */
static inline unsigned loader_level(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return 0;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
		return 1;
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") ? 2 : LOADER_LEVELS;
}

#elif defined(__aarch64__)

#define ARCH_SETARCH_NAMES

#define LOADER_FOLDERS "/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu:/lib64:/usr/lib64:/lib:/usr/lib"

/* FLAG_ELF_LIBC6 | FLAG_AARCH64_LIB64. */
#define LD_CACHE_FLAGS 0x0a03

#define LOADER_LIB_NAMES      "lib/aarch64-linux-gnu", "lib64", "lib"
#define LOADER_PLATFORM_NAMES "aarch64"

/* glibc has no levels of this processor. */
#define LOADER_LEVEL_NAMES    NULL
#define LOADER_LEVELS         0

static inline unsigned loader_level(void)
{
	return LOADER_LEVELS;
}

#else
#error "no port to this processor"
#endif
