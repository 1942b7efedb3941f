/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel: software developer's manual, CPUID leaves 2 (a list of descriptors) and 0x18; events: perfmon's lists
 * ITLB_MISSES.* (event 0x85 from Skylake on, 0x11 from Golden Cove on). AMD: programmer's manual, leaves 0x80000005 and
 * 0x80000006; events 0x84 and 0x85 of the processor programming references, Zen 2 to 5. Sizes by model: the sources in
 * tests/bench/itlb/processors.c.
 */
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

#include "arch/tlb.h"

#define SUBLEAVES_MAX 32

enum { EAX, EBX, ECX, EDX };

struct identity {
	char vendor[13];
	unsigned family, model;
};

static void identify(cpuid_reader *cpuid, struct identity *out)
{
	uint32_t regs[4];
	cpuid(0, 0, regs);
	memcpy(out->vendor, &regs[EBX], 4);
	memcpy(out->vendor + 4, &regs[EDX], 4);
	memcpy(out->vendor + 8, &regs[ECX], 4);
	out->vendor[12] = '\0';
	cpuid(1, 0, regs);
	out->family = regs[EAX] >> 8 & 0xf;
	out->model = regs[EAX] >> 4 & 0xf;
	if (out->family == 6 || out->family == 15)
		out->model |= regs[EAX] >> 12 & 0xf0;
	if (out->family == 15)
		out->family += regs[EAX] >> 20 & 0xff;
}

/* Leaf 0x18: a sub-leaf a TLB. */
static void read_leaf_18(cpuid_reader *cpuid, struct tlb_sizes *out)
{
	enum { INSTRUCTIONS = 2, UNIFIED = 3 };
	uint32_t regs[4], last = 0;
	for (uint32_t i = 0; i <= last && i < SUBLEAVES_MAX; i++) {
		cpuid(0x18, i, regs);
		if (i == 0)
			last = regs[EAX];
		unsigned type = regs[EDX] & 0x1f, level = regs[EDX] >> 5 & 7, ways = regs[EBX] >> 16;
		unsigned entries = ways * regs[ECX];
		bool is_small = regs[EBX] & 1, is_huge = regs[EBX] & 2;
		if (type == INSTRUCTIONS && level == 1 && is_small)
			out->first = entries;
		if (type == INSTRUCTIONS && level == 1 && is_huge)
			out->first_huge = entries;
		if ((type == UNIFIED || type == INSTRUCTIONS) && level == 2 && is_small) {
			out->second += entries; /* some have two, each for 4 KiB and one other size */
			out->second_is_shared = type == UNIFIED;
		}
	}
}

/* Leaf 2: bytes, of which each stands for a TLB or cache. */
static void read_leaf_2(cpuid_reader *cpuid, struct tlb_sizes *out)
{
	static const struct {
		uint8_t byte;
		uint16_t first, first_huge, second;
	} known[] = {{0x01, 32, 0, 0},    {0x0b, 0, 4, 0},    {0x4f, 32, 0, 0},  {0x50, 64, 64, 0}, {0x51, 128, 128, 0},
	             {0x52, 256, 256, 0}, {0x55, 0, 7, 0},    {0x61, 48, 0, 0},  {0x76, 0, 8, 0},   {0xb0, 128, 0, 0},
	             {0xb1, 0, 8, 0},     {0xb2, 64, 0, 0},   {0xb4, 0, 0, 256}, {0xb5, 64, 0, 0},  {0xb6, 128, 0, 0},
	             {0xc1, 0, 0, 1024},  {0xc3, 0, 0, 1536}, {0xca, 0, 0, 512}};
	uint32_t regs[4];
	cpuid(2, 0, regs);
	for (unsigned i = 1; i < 16; i++) { /* the lowest byte is no descriptor */
		if (regs[i / 4] >> 31)      /* this register has none */
			continue;
		uint8_t byte = (uint8_t)(regs[i / 4] >> 8 * (i % 4));
		for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
			if (known[k].byte != byte)
				continue;
			out->first = known[k].first ? known[k].first : out->first;
			out->first_huge = known[k].first_huge ? known[k].first_huge : out->first_huge;
			out->second = known[k].second ? known[k].second : out->second;
			out->second_is_shared = out->second > 0;
		}
	}
}

static void read_amd(cpuid_reader *cpuid, struct tlb_sizes *out)
{
	uint32_t regs[4];
	cpuid(0x80000005, 0, regs);
	out->first = regs[EBX] & 0xff;
	out->first_huge = regs[EAX] & 0xff;
	cpuid(0x80000006, 0, regs);
	out->second = regs[EBX] >> 12 & 0xf ? regs[EBX] & 0xfff : 0;
	out->second_is_shared = regs[EBX] >> 16 == 0;
}

/* Which Intel core, of those that differ here. */
enum core { CORE_UNKNOWN, CORE_SKYLAKE, CORE_ICE_LAKE, CORE_GOLDEN_COVE };

static enum core core_of(const struct identity *identity)
{
	static const struct {
		uint8_t model;
		enum core core;
	} models[] = {
	    {0x4e, CORE_SKYLAKE},     {0x5e, CORE_SKYLAKE},     {0x55, CORE_SKYLAKE},     {0x8e, CORE_SKYLAKE},
	    {0x9e, CORE_SKYLAKE},     {0xa5, CORE_SKYLAKE},     {0xa6, CORE_SKYLAKE},     {0x7d, CORE_ICE_LAKE},
	    {0x7e, CORE_ICE_LAKE},    {0x6a, CORE_ICE_LAKE},    {0x6c, CORE_ICE_LAKE},    {0xa7, CORE_ICE_LAKE},
	    {0x8c, CORE_ICE_LAKE},    {0x8d, CORE_ICE_LAKE},    {0x8f, CORE_GOLDEN_COVE}, {0xcf, CORE_GOLDEN_COVE},
	    {0x97, CORE_GOLDEN_COVE}, {0x9a, CORE_GOLDEN_COVE}, {0xb7, CORE_GOLDEN_COVE}, {0xba, CORE_GOLDEN_COVE},
	    {0xbf, CORE_GOLDEN_COVE}, {0xaa, CORE_GOLDEN_COVE}, {0xac, CORE_GOLDEN_COVE}, {0xad, CORE_GOLDEN_COVE},
	    {0xae, CORE_GOLDEN_COVE}};
	if (strcmp(identity->vendor, "GenuineIntel") != 0 || identity->family != 6)
		return CORE_UNKNOWN;
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
		if (models[i].model == identity->model)
			return models[i].core;
	}
	return CORE_UNKNOWN;
}

static bool is_amd(const struct identity *identity)
{
	return strcmp(identity->vendor, "AuthenticAMD") == 0 || strcmp(identity->vendor, "HygonGenuine") == 0;
}

/* What the model has of what the processor has not said: some hypervisors hide these leaves. */
static void complete(const struct identity *identity, struct tlb_sizes *out)
{
	static const struct tlb_sizes tables[] = {
	    [CORE_UNKNOWN] = {.first = 64, .first_huge = 8, .second = 512, .source = TLB_ASSUMED},
	    [CORE_SKYLAKE] =
	        {.first = 128, .first_huge = 8, .second = 1536, .second_is_shared = true, .source = TLB_FROM_TABLE},
	    [CORE_ICE_LAKE] =
	        {.first = 128, .first_huge = 8, .second = 2048, .second_is_shared = true, .source = TLB_FROM_TABLE},
	    [CORE_GOLDEN_COVE] =
	        {.first = 256, .first_huge = 32, .second = 2048, .second_is_shared = true, .source = TLB_FROM_TABLE},
	};
	struct tlb_sizes table = tables[core_of(identity)];
	if (is_amd(identity)) {
		table.source = identity->family >= 0x17 ? TLB_FROM_TABLE : TLB_ASSUMED;
		table.first_huge = table.first; /* one for all sizes */
		table.second = identity->family >= 0x1a ? 2048 : 512;
	}
	if (out->first && out->second)
		return;
	out->source = table.source;
	if (!out->second) {
		out->second = table.second;
		out->second_is_shared = table.second_is_shared;
	}
	out->first = out->first ? out->first : table.first;
	out->first_huge = out->first_huge ? out->first_huge : table.first_huge;
}

void tlb_from_cpuid(cpuid_reader *cpuid, struct tlb_sizes *out)
{
	struct identity identity;
	*out = (struct tlb_sizes){.source = TLB_FROM_PROCESSOR};
	identify(cpuid, &identity);
	snprintf(out->processor, sizeof out->processor, "%s family 0x%x model 0x%x", identity.vendor, identity.family,
	         identity.model);
	if (is_amd(&identity)) {
		read_amd(cpuid, out);
	} else {
		read_leaf_18(cpuid, out);
		if (!out->first && !out->second)
			read_leaf_2(cpuid, out);
	}
	complete(&identity, out);
}

/* event + umask, and with CMASK 1 the cycles in which there was one. */
static struct itlb_event raw(unsigned event, unsigned umask, unsigned cmask)
{
	return (struct itlb_event){PERF_TYPE_RAW, event | umask << 8 | (uint64_t)cmask << 24};
}

static const struct itlb_event generic_walks = {PERF_TYPE_HW_CACHE, PERF_COUNT_HW_CACHE_ITLB |
                                                                        PERF_COUNT_HW_CACHE_OP_READ << 8 |
                                                                        PERF_COUNT_HW_CACHE_RESULT_MISS << 16};

void itlb_events_from_cpuid(cpuid_reader *cpuid, struct itlb_events *out)
{
	struct identity identity;
	*out = (struct itlb_events){.walks = generic_walks};
	identify(cpuid, &identity);
	enum core core = core_of(&identity);
	if (core != CORE_UNKNOWN) {
		unsigned event = core == CORE_GOLDEN_COVE ? 0x11 : 0x85;
		out->walks = raw(event, 0x0e, 0);
		out->walk_cycles = raw(event, 0x10, 1);
		out->first_miss = raw(event, 0x20, 0);
	} else if (is_amd(&identity) && identity.family >= 0x17) {
		bool is_zen4 = identity.family >= 0x1a || (identity.family == 0x19 && identity.model >= 0x10 &&
		                                           !(identity.model >= 0x20 && identity.model < 0x60));
		out->walks = raw(0x85, is_zen4 ? 0x0f : 0x07, 0);
		out->first_miss = raw(0x84, 0, 0);
	}
}
