/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of TLBs and their events, from what processors say: registers as in InstLatx64's dumps, and made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/tlb.h"

struct leaf {
	uint32_t leaf, subleaf, regs[4];
};

static const struct leaf *leaves;

static void read_leaf(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof out[0]);
	for (const struct leaf *at = leaves; at->leaf != UINT32_MAX; at++) {
		if (at->leaf == leaf && at->subleaf == subleaf)
			memcpy(out, at->regs, sizeof at->regs);
	}
}

#define INTEL                                                    \
	{                                                        \
		0, 0,                                            \
		{                                                \
			0x20, 0x756e6547, 0x6c65746e, 0x49656e69 \
		}                                                \
	}
#define AMD                                                      \
	{                                                        \
		0, 0,                                            \
		{                                                \
			0x10, 0x68747541, 0x444d4163, 0x69746e65 \
		}                                                \
	}
#define END                    \
	{                      \
		UINT32_MAX, 0, \
		{              \
			0      \
		}              \
	}

static struct tlb_sizes sizes_of(const struct leaf *list)
{
	struct tlb_sizes sizes;
	leaves = list;
	tlb_from_cpuid(read_leaf, &sizes);
	return sizes;
}

static struct itlb_events events_of(const struct leaf *list)
{
	struct itlb_events events;
	leaves = list;
	itlb_events_from_cpuid(read_leaf, &events);
	return events;
}

static void check(const struct tlb_sizes *sizes, unsigned first, unsigned first_huge, unsigned second, bool is_shared,
                  enum tlb_source source)
{
	assert_int_equal(sizes->first, first);
	assert_int_equal(sizes->first_huge, first_huge);
	assert_int_equal(sizes->second, second);
	assert_int_equal(sizes->second_is_shared, is_shared);
	assert_int_equal(sizes->source, source);
}

static void sapphire_rapids_says_it_by_leaf_18(void **state)
{
	(void)state;
	static const struct leaf list[] = {INTEL,
	                                   {1, 0, {0x000806f8}},
	                                   {2, 0, {0x00feff01, 0xf0}},
	                                   {0x18, 0, {8}},
	                                   {0x18, 1, {0, 0x00080001, 0x20, 0x4022}}, /* instructions, 4 KiB, 256 */
	                                   {0x18, 2, {0, 0x00080006, 0x04, 0x4022}}, /* instructions, 2 MiB, 32 */
	                                   {0x18, 3, {0, 0x0010000f, 0x01, 0x4125}}, /* stores */
	                                   {0x18, 4, {0, 0x00060001, 0x10, 0x4024}}, /* loads */
	                                   {0x18, 7, {0, 0x00080007, 0x80, 0x4043}}, /* second level, 1024 */
	                                   {0x18, 8, {0, 0x00080009, 0x80, 0x4043}}, /* second level, 4 KiB and 1 GiB */
	                                   END};
	struct tlb_sizes sizes = sizes_of(list);
	check(&sizes, 256, 32, 2048, true, TLB_FROM_PROCESSOR);
	assert_string_equal(sizes.processor, "GenuineIntel family 0x6 model 0x8f");
	struct itlb_events events = events_of(list);
	assert_int_equal(events.walks.config, 0x0e11);
	assert_int_equal(events.walk_cycles.config, 0x1001011);
	assert_int_equal(events.first_miss.config, 0x2011);
}

static void skylake_says_it_by_descriptors(void **state)
{
	(void)state;
	static const struct leaf list[] = {
	    INTEL, {1, 0, {0x00050654}}, {2, 0, {0x76036301, 0x00f0b5ff, 0, 0x00c30000}}, END};
	struct tlb_sizes sizes = sizes_of(list);
	check(&sizes, 64, 8, 1536, true, TLB_FROM_PROCESSOR);
	assert_int_equal(events_of(list).walk_cycles.config, 0x1001085);
}

/* As on a virtual machine that was seen: leaf 2 points to leaf 0x18, which is all zeros. */
static void what_a_hypervisor_hides_is_known_by_the_model(void **state)
{
	(void)state;
	static const struct leaf hidden[] = {INTEL, {1, 0, {0x000a0671}}, {2, 0, {0x00feff01, 0xf0}}, END};
	struct tlb_sizes sizes = sizes_of(hidden);
	check(&sizes, 128, 8, 2048, true, TLB_FROM_TABLE);
	static const struct leaf unknown[] = {INTEL, {1, 0, {0x000f0f10}}, END};
	sizes = sizes_of(unknown);
	assert_true(sizes.first > 0 && sizes.second > 0);
	assert_int_equal(sizes.source, TLB_ASSUMED);
	struct itlb_events events = events_of(unknown);
	assert_int_equal(events.walks.type, 3); /* PERF_TYPE_HW_CACHE */
	assert_int_equal(events.walk_cycles.config, 0);
}

static void amd_says_it_by_extended_leaves(void **state)
{
	(void)state;
	static const struct leaf milan[] = {AMD,
	                                    {1, 0, {0x00a00f11}},
	                                    {0x80000005, 0, {0xff40ff40, 0xff40ff40}},
	                                    {0x80000006, 0, {0x48002200, 0x68004200}},
	                                    END};
	struct tlb_sizes sizes = sizes_of(milan);
	check(&sizes, 64, 64, 512, false, TLB_FROM_PROCESSOR);
	assert_int_equal(events_of(milan).walks.config, 0x0785);
	static const struct leaf genoa[] = {AMD, {1, 0, {0x00a10f11}}, END};
	assert_int_equal(events_of(genoa).walks.config, 0x0f85);
	static const struct leaf turin[] = {AMD, {1, 0, {0x00b00f21}}, END};
	sizes = sizes_of(turin);
	check(&sizes, 64, 64, 2048, false, TLB_FROM_TABLE);
	assert_int_equal(events_of(turin).first_miss.config, 0x84);
}

/* A leaf that claims sub-leaves without end. */
static void nonsense_ends(void **state)
{
	(void)state;
	static const struct leaf list[] = {
	    INTEL, {1, 0, {0x000806f8}}, {0x18, 0, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}}, END};
	struct tlb_sizes sizes = sizes_of(list);
	assert_true(sizes.first > 0 && sizes.second > 0);
	static const struct leaf none[] = {END};
	sizes = sizes_of(none);
	assert_int_equal(sizes.source, TLB_ASSUMED);
}

static void arm_is_known_by_its_part(void **state)
{
	(void)state;
	struct tlb_sizes sizes;
	struct itlb_events events;
	tlb_from_midr(0x410fd4f1, &sizes);
	assert_string_equal(sizes.processor, "Neoverse V2");
	check(&sizes, 48, 48, 2048, true, TLB_FROM_TABLE);
	tlb_from_midr(0x420fd4f1, &sizes); /* another company's */
	assert_int_equal(sizes.source, TLB_ASSUMED);
	itlb_events_from_midr(0x410fd4f1, &events);
	assert_int_equal(events.walks.config, 0x35);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sapphire_rapids_says_it_by_leaf_18),
	    cmocka_unit_test(skylake_says_it_by_descriptors),
	    cmocka_unit_test(what_a_hypervisor_hides_is_known_by_the_model),
	    cmocka_unit_test(amd_says_it_by_extended_leaves),
	    cmocka_unit_test(nonsense_ends),
	    cmocka_unit_test(arm_is_known_by_its_part),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
