/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/tlb.h"

#if defined(__x86_64__)
#include <cpuid.h>

static void read_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	out[0] = out[1] = out[2] = out[3] = 0;
	__get_cpuid_count(leaf, subleaf, &out[0], &out[1], &out[2], &out[3]);
}

void arch_tlb_sizes(struct tlb_sizes *out)
{
	tlb_from_cpuid(read_cpuid, out);
}

void arch_itlb_events(struct itlb_events *out)
{
	itlb_events_from_cpuid(read_cpuid, out);
}

#elif defined(__aarch64__)
#include <stdio.h>

/* 0 if the kernel does not tell: a core that no table has. */
static uint64_t midr(void)
{
	unsigned long long value = 0;
	FILE *file = fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "re");
	if (file && fscanf(file, "%llx", &value) != 1)
		value = 0;
	if (file)
		fclose(file);
	return value;
}

void arch_tlb_sizes(struct tlb_sizes *out)
{
	tlb_from_midr(midr(), out);
}

void arch_itlb_events(struct itlb_events *out)
{
	itlb_events_from_midr(midr(), out);
}

#else
#error "no port to this processor"
#endif
