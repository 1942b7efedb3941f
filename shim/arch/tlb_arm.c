/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm has no architectural way to ask for the sizes of TLBs: a table by MIDR_EL1's implementer and part number, from
 * the cores' technical reference manuals (sources in tests/bench/itlb/processors.c). Events: Arm architecture reference
 * manual, the common events of PMUv3.
 */
#include <linux/perf_event.h>
#include <stdio.h>

#include "arch/tlb.h"

#define IMPLEMENTER_ARM 0x41

void tlb_from_midr(uint64_t midr, struct tlb_sizes *out)
{
	static const struct {
		uint16_t part;
		const char *name;
		uint16_t first, second;
	} cores[] = {
	    {0xd08, "Cortex-A72", 48, 1024},  {0xd0c, "Neoverse N1", 48, 1280}, {0xd40, "Neoverse V1", 48, 2048},
	    {0xd49, "Neoverse N2", 48, 1280}, {0xd4f, "Neoverse V2", 48, 2048}, {0xd84, "Neoverse V3", 48, 2048},
	    {0xd8e, "Neoverse N3", 48, 1280},
	};
	unsigned part = midr >> 4 & 0xfff;
	*out = (struct tlb_sizes){
	    .first = 48, .first_huge = 48, .second = 1024, .second_is_shared = true, .source = TLB_ASSUMED};
	snprintf(out->processor, sizeof out->processor, "implementer 0x%x part 0x%x", (unsigned)(midr >> 24 & 0xff),
	         part);
	for (size_t i = 0; (midr >> 24 & 0xff) == IMPLEMENTER_ARM && i < sizeof cores / sizeof cores[0]; i++) {
		if (cores[i].part != part)
			continue;
		snprintf(out->processor, sizeof out->processor, "%s", cores[i].name);
		out->first = out->first_huge = cores[i].first;
		out->second = cores[i].second;
		out->source = TLB_FROM_TABLE;
	}
}

void itlb_events_from_midr(uint64_t midr, struct itlb_events *out)
{
	(void)midr; /* all of them have these */
	*out = (struct itlb_events){
	    .walks = {PERF_TYPE_RAW, 0x35},      /* ITLB_WALK */
	    .first_miss = {PERF_TYPE_RAW, 0x02}, /* L1I_TLB_REFILL */
	};
}
