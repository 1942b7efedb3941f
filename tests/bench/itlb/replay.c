/* SPDX-License-Identifier: Apache-2.0 */
/*
 * itlb-replay - simulate what a trace (trace.h) on standard input says, print the results as JSON.
 *
 * For tests: the same model that the plugin has, fed with traces that nobody would find in a program.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core.h"
#include "results.h"
#include "tlb.h"

#define CORES   16
#define OBJECTS 256

static struct core *cores[CORES];
static struct object objects[OBJECTS];

static struct core *core_at(unsigned index)
{
	if (index >= CORES) {
		fprintf(stderr, "itlb-replay: more than %u cores\n", CORES);
		exit(1);
	}
	if (!cores[index])
		cores[index] = core_new();
	return cores[index];
}

static bool replay_object(const char *line)
{
	struct object object = {0};
	unsigned kind, fixed;
	if (sscanf(line, "O %x %x %x %lx %lx %lx %lx %lx %lx %lx %lx", &object.id, &kind, &fixed, &object.code_off,
	           &object.code_bytes, &object.text_off, &object.text_bytes, &object.text_start, &object.section_off,
	           &object.section_bytes, &object.relinked) != 11 ||
	    object.id >= OBJECTS || kind > OBJECT_LOADER)
		return false;
	object.kind = (enum object_kind)kind;
	object.fixed = fixed;
	objects[object.id] = object;
	return true;
}

static bool replay_event(const char *line)
{
	unsigned core, object, store;
	uint64_t at, keys[LAYOUT_COUNT];
	if (line[0] == 'O')
		return replay_object(line);
	if (sscanf(line, "F %x %x %lx", &core, &object, &at) == 3 && object < OBJECTS) {
		layout_keys(&objects[object], at, keys);
		core_fetch(core_at(core), keys);
	} else if (sscanf(line, "A %x %lx", &core, &at) == 2) {
		for (unsigned i = 0; i < LAYOUT_COUNT; i++)
			keys[i] = small_key(at);
		core_fetch(core_at(core), keys);
	} else if (sscanf(line, "D %x %lx %x", &core, &at, &store) == 3) {
		core_data(core_at(core), at, store);
	} else {
		return false;
	}
	return true;
}

int main(void)
{
	char line[256];
	while (fgets(line, sizeof line, stdin)) {
		if (!replay_event(line)) {
			fprintf(stderr, "itlb-replay: not understood: %s", line);
			return 1;
		}
	}
	struct counts counts = {0};
	for (unsigned i = 0; i < CORES; i++) {
		if (cores[i])
			core_add_counts(cores[i], &counts);
	}
	putchar('{');
	results_write(stdout, &counts);
	puts("}");
	return 0;
}
