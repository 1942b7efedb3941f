/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <stdlib.h>

/* A first level that one or more processors have. */
struct front {
	struct tlb_shape small, huge; /* for data: loads, stores */
	unsigned coalesce;
	unsigned users[PROCESSOR_COUNT]; /* processors */
	unsigned user_count;
};

struct core {
	uint64_t last_fetch; /* key of it in the plain layout, which has a page of its own for each */
	uint64_t last_data;  /* page and whether it was a store; 0 at first */
	struct tlb fetch_small[PROCESSOR_COUNT][LAYOUT_COUNT]; /* a front, a layout */
	struct tlb fetch_huge[PROCESSOR_COUNT][LAYOUT_COUNT];
	struct tlb load[PROCESSOR_COUNT], store[PROCESSOR_COUNT]; /* a front */
	struct tlb second[PROCESSOR_COUNT][LAYOUT_COUNT];         /* a processor, a layout */
	uint64_t front_misses[PROCESSOR_COUNT][LAYOUT_COUNT];
	struct counts counts;
};

static struct front fetch_fronts[PROCESSOR_COUNT], data_fronts[PROCESSOR_COUNT];
static unsigned fetch_front_count, data_front_count;

static bool same_shape(struct tlb_shape a, struct tlb_shape b)
{
	return a.entries == b.entries && a.ways == b.ways;
}

static void add_front(struct front *fronts, unsigned *count, struct front wanted, unsigned processor)
{
	unsigned i = 0;
	while (i < *count && !(same_shape(fronts[i].small, wanted.small) && same_shape(fronts[i].huge, wanted.huge) &&
	                       fronts[i].coalesce == wanted.coalesce))
		i++;
	if (i == *count)
		fronts[(*count)++] = wanted;
	fronts[i].users[fronts[i].user_count++] = processor;
}

__attribute__((constructor)) static void find_fronts(void)
{
	for (unsigned i = 0; i < PROCESSOR_COUNT; i++) {
		const struct processor *p = &processors[i];
		struct front fetch = {.small = p->fetch_small, .huge = p->fetch_huge, .coalesce = p->coalesce};
		add_front(fetch_fronts, &fetch_front_count, fetch, i);
		struct front data = {.small = p->load, .huge = p->store};
		if (p->second_has_data)
			add_front(data_fronts, &data_front_count, data, i);
	}
}

/* SECOND is a TLB of its own only where it has entries. */
static void init_pair(struct tlb *first, struct tlb *second, const struct front *front)
{
	tlb_init(first, front->small);
	if (front->huge.entries)
		tlb_init(second, front->huge);
	else
		*second = *first;
}

static void free_pair(struct tlb *first, struct tlb *second)
{
	if (second->keys != first->keys)
		tlb_free(second);
	tlb_free(first);
}

struct core *core_new(void)
{
	struct core *core = need(sizeof *core);
	for (unsigned layout = 0; layout < LAYOUT_COUNT; layout++) {
		for (unsigned i = 0; i < fetch_front_count; i++)
			init_pair(&core->fetch_small[i][layout], &core->fetch_huge[i][layout], &fetch_fronts[i]);
		for (unsigned i = 0; i < PROCESSOR_COUNT; i++)
			tlb_init(&core->second[i][layout], processors[i].second);
	}
	for (unsigned i = 0; i < data_front_count; i++)
		init_pair(&core->load[i], &core->store[i], &data_fronts[i]);
	return core;
}

void core_free(struct core *core)
{
	for (unsigned layout = 0; layout < LAYOUT_COUNT; layout++) {
		for (unsigned i = 0; i < fetch_front_count; i++)
			free_pair(&core->fetch_small[i][layout], &core->fetch_huge[i][layout]);
		for (unsigned i = 0; i < PROCESSOR_COUNT; i++)
			tlb_free(&core->second[i][layout]);
	}
	for (unsigned i = 0; i < data_front_count; i++)
		free_pair(&core->load[i], &core->store[i]);
	free(core);
}

static void fetch_miss(struct core *core, unsigned front, unsigned layout, uint64_t key)
{
	core->front_misses[front][layout]++;
	for (unsigned i = 0; i < fetch_fronts[front].user_count; i++) {
		unsigned processor = fetch_fronts[front].users[i];
		if (!tlb_touch(&core->second[processor][layout], key))
			core->counts.walks[processor][layout]++;
	}
}

void core_fetch(struct core *core, const uint64_t keys[LAYOUT_COUNT])
{
	if (keys[LAYOUT_PLAIN] == core->last_fetch)
		return; /* the most recently used page everywhere */
	core->last_fetch = keys[LAYOUT_PLAIN];
	core->counts.fetches++;
	for (unsigned i = 0; i < fetch_front_count; i++) {
		for (unsigned layout = 0; layout < LAYOUT_COUNT; layout++) {
			uint64_t key = keys[layout];
			struct tlb *tlb = &core->fetch_huge[i][layout];
			if (!key_is_huge(key)) {
				key = key >> 1 >> fetch_fronts[i].coalesce << 1;
				tlb = &core->fetch_small[i][layout];
			}
			if (!tlb_touch(tlb, key))
				fetch_miss(core, i, layout, key);
		}
	}
}

static void data_miss(struct core *core, const struct front *front, uint64_t key)
{
	for (unsigned i = 0; i < front->user_count; i++) {
		for (unsigned layout = 0; layout < LAYOUT_COUNT; layout++)
			tlb_touch(&core->second[front->users[i]][layout], key);
	}
}

void core_data(struct core *core, uint64_t address, bool store)
{
	uint64_t key = small_key(address);
	if ((key | store) == core->last_data)
		return;
	core->last_data = key | store;
	core->counts.accesses++;
	for (unsigned i = 0; i < data_front_count; i++) {
		if (!tlb_touch(store ? &core->store[i] : &core->load[i], key))
			data_miss(core, &data_fronts[i], key);
	}
}

void core_add_counts(const struct core *core, struct counts *sum)
{
	sum->fetches += core->counts.fetches;
	sum->accesses += core->counts.accesses;
	for (unsigned layout = 0; layout < LAYOUT_COUNT; layout++) {
		for (unsigned i = 0; i < PROCESSOR_COUNT; i++)
			sum->walks[i][layout] += core->counts.walks[i][layout];
		for (unsigned i = 0; i < fetch_front_count; i++) {
			for (unsigned user = 0; user < fetch_fronts[i].user_count; user++)
				sum->misses[fetch_fronts[i].users[user]][layout] += core->front_misses[i][layout];
		}
	}
}
