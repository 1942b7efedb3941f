/* SPDX-License-Identifier: Apache-2.0 */
/* processors - the TLBs of named processors, as published. */
#ifndef ITLB_PROCESSORS_H
#define ITLB_PROCESSORS_H

#include "tlb.h"

struct processor {
	const char *name;
	struct tlb_shape fetch_small; /* first level for instructions, 4 KiB pages */
	struct tlb_shape fetch_huge;  /* the same for 2 MiB pages; 0 entries: both sizes share fetch_small */
	struct tlb_shape load;        /* first level for data, 4 KiB pages; looked at only where the second is shared */
	struct tlb_shape store;       /* 0 entries: stores use that of loads */
	struct tlb_shape second;      /* second level, pages of both sizes */
	bool second_has_data;         /* instructions and data share the second level */
	unsigned coalesce;            /* one entry holds 2^coalesce neighbouring 4 KiB pages */
};

#define PROCESSOR_COUNT 10

extern const struct processor processors[PROCESSOR_COUNT];

#endif
