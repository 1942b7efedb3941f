/* SPDX-License-Identifier: Apache-2.0 */
#include "tlb.h"

#include <stdio.h>
#include <stdlib.h>

void *need(size_t size)
{
	void *memory = calloc(1, size);
	if (!memory) {
		fprintf(stderr, "itlb: out of memory\n");
		abort();
	}
	return memory;
}

void tlb_init(struct tlb *tlb, struct tlb_shape shape)
{
	unsigned sets = shape.entries / shape.ways;
	if (sets == 0 || sets * shape.ways != shape.entries || (sets & (sets - 1)) != 0) {
		fprintf(stderr, "itlb: %u entries in %u ways are no TLB of this model\n", shape.entries, shape.ways);
		abort();
	}
	tlb->ways = shape.ways;
	tlb->set_mask = sets - 1;
	tlb->keys = need(shape.entries * sizeof *tlb->keys);
}

void tlb_free(struct tlb *tlb)
{
	free(tlb->keys);
	tlb->keys = NULL;
}
