/* SPDX-License-Identifier: Apache-2.0 */
#include "processors.h"

/*
 * Where the numbers are from. For x86 first of all what the processors say of themselves: CPUID leaves 2 and 0x18
 * (Intel), 0x80000005 and 0x80000006 (AMD), in the dumps of github.com/InstLatx64/InstLatx64 (commit 087af2c7).
 *
 * Skylake-SP      GenuineIntel0050654_SkylakeXeon_20 (Xeon Platinum 8160), leaf 2: 76h instructions, 2 MiB, 8 entries,
 *                 fully associative; 03h data, 4 KiB, 64 entries, 4 ways; C3h second level, 1536 entries, 4 KiB and
 *                 2 MiB; B5h instructions, 4 KiB, 64 entries, 8 ways, which is a thread's half: Intel's optimization
 *                 manual, table 2-15, has 128 entries a core, and 12 ways for the second level (C3h: 6)
 * Ice Lake-SP     GenuineIntel00606A6_ICX_04, leaf 0x18: instructions, 2 MiB, 8 entries, fully associative; loads 64
 *                 entries, 4 ways; stores 16 entries, fully associative; second level 1024 entries, 8 ways, 4 KiB and
 *                 2 MiB, and 1024 entries, 8 ways, 4 KiB and 1 GiB: one of 2048 entries and 16 ways here, for a program
 *                 has far fewer than 1024 huge pages of code. Instructions, 4 KiB: not in the leaf, as Skylake [not
 * sourced] Sapphire Rapids GenuineIntel00806F8_SapphireRapids_05, leaf 0x18: instructions, 4 KiB, 256 entries, 8 ways;
 * 2 MiB, 32 entries, 8 ways; stores and second level as Ice Lake. Loads: 96 entries, 6 ways, Intel's manual for Golden
 * Cove as quoted and measured in github.com/jiegec/blog-source, hardware/intel-golden-cove.md Zen 3
 * AuthenticAMD0A00F11_K19_Milan_02 (EPYC 7763): instructions 64 entries, fully associative, all sizes; second level for
 * instructions 512 entries, 4 KiB and 2 MiB. Its ways: 8 (7-cpu.com/cpu/Zen2.html, from AMD's guide for Zen 2; CPUID
 * says 4 for 4 KiB and 2 for 2 MiB, which share it) Zen 4           AuthenticAMD0A10F11_K19_Genoa_01 (EPYC 9654): as
 * Zen 3 Zen 5           AuthenticAMD0B00F21_K20_Turin_01 (EPYC 9655): 64 entries; second level 2048 entries, 8 ways
 * (AMD's guide as quoted and measured in jiegec/blog-source, hardware/amd-zen5.md) Neoverse N1     the Cortex-A76 that
 * it is made from: its technical reference manual, section A5.2: 48 and 48 entries, fully associative, all sizes;
 * second level 1280 entries, 5 ways, instructions and data Neoverse V1     48 and 40 entries, fully associative; second
 * level 2048 entries, 4 ways [not sourced] Neoverse V2     its technical reference manual as quoted and measured in
 * jiegec/blog-source, hardware/arm-neoverse-v2.md: 48 and 48 entries, fully associative; second level 2048 entries, 8
 * ways, instructions and data (code was seen to get about half of it; here it gets what LRU leaves it)
 *
 * AMD's TLBs can hold four neighbouring 4 KiB pages in one entry where they are neighbours in memory as well, too. How
 * often they are is the page cache's chance, so Zen 4 is there twice: never coalesced, and always, the two ends of what
 * can be.
 */
#define NONE         \
	{            \
		0, 0 \
	}
#define FULL(n)      \
	{            \
		n, n \
	}
#define WAYS(n, w)   \
	{            \
		n, w \
	}

const struct processor processors[PROCESSOR_COUNT] = {
    {"Skylake-SP", WAYS(128, 8), FULL(8), WAYS(64, 4), NONE, WAYS(1536, 12), true, 0},
    {"Ice Lake-SP", WAYS(128, 8), FULL(8), WAYS(64, 4), FULL(16), WAYS(2048, 16), true, 0},
    {"Sapphire Rapids", WAYS(256, 8), WAYS(32, 8), WAYS(96, 6), FULL(16), WAYS(2048, 16), true, 0},
    {"Zen 3", FULL(64), NONE, NONE, NONE, WAYS(512, 8), false, 0},
    {"Zen 4", FULL(64), NONE, NONE, NONE, WAYS(512, 8), false, 0},
    {"Zen 4, coalescing", FULL(64), NONE, NONE, NONE, WAYS(512, 8), false, 2},
    {"Zen 5", FULL(64), NONE, NONE, NONE, WAYS(2048, 8), false, 0},
    {"Neoverse N1", FULL(48), NONE, FULL(48), NONE, WAYS(1280, 5), true, 0},
    {"Neoverse V1", FULL(48), NONE, FULL(40), NONE, WAYS(2048, 4), true, 0},
    {"Neoverse V2", FULL(48), NONE, FULL(48), NONE, WAYS(2048, 8), true, 0},
};
