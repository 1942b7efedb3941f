/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include <inttypes.h>

void trace_object(FILE *trace, const struct object *object)
{
	const uint64_t numbers[] = {object->code_off,   object->code_bytes,  object->text_off,      object->text_bytes,
	                            object->text_start, object->section_off, object->section_bytes, object->relinked};
	fprintf(trace, "O %x %x %x", object->id, object->kind, object->fixed);
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
		fprintf(trace, " %" PRIx64, numbers[i]);
	putc('\n', trace);
}

void trace_fetch(FILE *trace, unsigned core, const struct object *object, uint64_t offset)
{
	fprintf(trace, "F %x %x %" PRIx64 "\n", core, object->id, offset);
}

void trace_anonymous(FILE *trace, unsigned core, uint64_t address)
{
	fprintf(trace, "A %x %" PRIx64 "\n", core, address);
}

void trace_data(FILE *trace, unsigned core, uint64_t address, bool store)
{
	fprintf(trace, "D %x %" PRIx64 " %x\n", core, address, store);
}
