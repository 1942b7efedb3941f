/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a policy: everything its rules point to is freed with it, at once.
 */
#include <stddef.h>
#include <stdlib.h>

#include "policy/internal.h"

#define CHUNK_BYTES 16384

struct chunk {
	struct chunk *next;
	size_t used, bytes;
	max_align_t data[];
};

void *policy_alloc(struct policy *policy, size_t bytes)
{
	struct chunk *chunk = policy->chunks;
	size_t rounded = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (!chunk || chunk->bytes - chunk->used < rounded) {
		size_t data_bytes = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
		chunk = calloc(1, sizeof *chunk + data_bytes);
		if (!chunk)
			return NULL;
		chunk->bytes = data_bytes;
		chunk->next = policy->chunks;
		policy->chunks = chunk;
	}
	void *block = (char *)chunk->data + chunk->used;
	chunk->used += rounded;
	return block;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->root_count; i++)
		json_object_put(policy->roots[i]);
	for (struct chunk *chunk = policy->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(policy->roots);
	free(policy->rules);
	free(policy);
}
