/* SPDX-License-Identifier: Apache-2.0 */
#include "results.h"

#include <inttypes.h>

void results_write_string(FILE *out, const char *text)
{
	putc('"', out);
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
			fprintf(out, "\\u%04x", (unsigned char)*c);
		else
			putc(*c, out);
	}
	putc('"', out);
}

void results_write_numbers(FILE *out, const uint64_t numbers[LAYOUT_COUNT])
{
	for (unsigned i = 0; i < LAYOUT_COUNT; i++)
		fprintf(out, "%s%" PRIu64, i ? ", " : "[", numbers[i]);
	putc(']', out);
}

static void write_shape(FILE *out, const char *name, struct tlb_shape shape)
{
	fprintf(out, "\"%s\": [%u, %u], ", name, shape.entries, shape.ways);
}

static void write_processor(FILE *out, const struct processor *processor)
{
	fputs("\n  {\"name\": ", out);
	results_write_string(out, processor->name);
	fprintf(out, ", \"coalesce\": %u, \"second_has_data\": %s, ", processor->coalesce,
	        processor->second_has_data ? "true" : "false");
	write_shape(out, "fetch_small", processor->fetch_small);
	write_shape(out, "fetch_huge", processor->fetch_huge);
	write_shape(out, "load", processor->load);
	write_shape(out, "store", processor->store);
	write_shape(out, "second", processor->second);
}

void results_write(FILE *out, const struct counts *counts)
{
	fprintf(out, "\"fetches\": %" PRIu64 ", \"accesses\": %" PRIu64 ",\n\"layouts\": [", counts->fetches,
	        counts->accesses);
	for (unsigned i = 0; i < LAYOUT_COUNT; i++) {
		fputs(i ? ", " : "", out);
		results_write_string(out, layout_names[i]);
	}
	fputs("],\n\"processors\": [", out);
	for (unsigned i = 0; i < PROCESSOR_COUNT; i++) {
		fputs(i ? "," : "", out);
		write_processor(out, &processors[i]);
		fputs("\"misses\": ", out);
		results_write_numbers(out, counts->misses[i]);
		fputs(", \"walks\": ", out);
		results_write_numbers(out, counts->walks[i]);
		putc('}', out);
	}
	fputs("]", out);
}
