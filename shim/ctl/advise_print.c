/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/advise_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "ctl/ctl.h"

#define BAR_CELLS    40 /* at most */
#define BESIDE_BAR   42 /* columns: name, size, remark */
#define NAME_COLUMNS 12
#define BEFORE_PATH  63
#define TEXT_BYTES   640

static const char *source_text(enum tlb_source source)
{
	static const char *const texts[] = {[TLB_FROM_PROCESSOR] = "it says so",
	                                    [TLB_FROM_TABLE] = "by its model",
	                                    [TLB_ASSUMED] = "assumed, for neither the processor nor its model tells"};
	return texts[source];
}

static const char *mib(double bytes, char *buf, size_t buf_bytes)
{
	return size_format((uint64_t)bytes, buf, buf_bytes);
}

/* A line of the picture: BYTES of MOST, which is as long as all cells. */
static void print_bar(const char *name, double bytes, double most, const char *remark)
{
	char size[16];
	unsigned columns = ctl_columns(stdout), room = columns > BESIDE_BAR + 10 ? columns - BESIDE_BAR : 10;
	unsigned all = room < BAR_CELLS ? room : BAR_CELLS;
	unsigned cells = most > 0 ? (unsigned)(bytes / most * all + 0.5) : 0;
	printf("%-*s ", NAME_COLUMNS, name);
	for (unsigned i = 0; i < all; i++)
		fputs(ctl_is_utf8() ? (i < cells ? "█" : "░") : (i < cells ? "#" : "."), stdout);
	printf(" %9s%s\n", mib(bytes, size, sizeof size), remark);
}

static void print_picture(const struct advice_input *input)
{
	double page = (double)input->page_bytes, touched = input->touched.pages * page;
	double first = input->tlb.first * page, second = input->tlb.second * page;
	double most = touched > second ? touched : second;
	print_bar("touched", touched, most, " of text");
	print_bar("first level", first, most, " in small pages");
	print_bar("second level", second, most, input->tlb.second_is_shared ? ", shared with data" : "");
}

static void print_counters(const struct advice_input *input)
{
	char text[TEXT_BYTES], misses[80] = "";
	const double *counts = input->counts;
	double instructions = counts[COUNT_INSTRUCTIONS];
	if (!input->has_counters || instructions <= 0)
		return;
	if (counts[COUNT_FIRST_MISSES] > 0)
		snprintf(misses, sizeof misses, " and %.2f misses that the second level answers",
		         1000 * counts[COUNT_FIRST_MISSES] / instructions);
	snprintf(text, sizeof text, "CPI %.2f; per 1,000 instructions %.2f page walks%s; %.1f %% of cycles in walks",
	         counts[COUNT_CYCLES] / instructions, 1000 * counts[COUNT_WALKS] / instructions, misses,
	         100 * advice_walk_share(input));
	ctl_print_named(NAME_COLUMNS, "counted", text);
}

static void print_head(const struct advice_input *input, const struct watch *watch)
{
	char text[TEXT_BYTES];
	snprintf(text, sizeof text, "%zu process%s, %zu thread%s, for %.1f s: %" PRIu64 " samples%s",
	         watch->process_count, watch->process_count == 1 ? "" : "es", watch->thread_count,
	         watch->thread_count == 1 ? "" : "s", input->seconds, input->touched.samples,
	         input->has_counters ? "" : "; no counters here");
	ctl_print_named(NAME_COLUMNS, "watched", text);
	snprintf(text, sizeof text, "%s: %u TLB entries for code in small pages, %u behind them (%s)",
	         input->tlb.processor, input->tlb.first, input->tlb.second, source_text(input->tlb.source));
	ctl_print_named(NAME_COLUMNS, "processor", text);
	print_counters(input);
	snprintf(text, sizeof text, "%.0f %% outside of what the first level can hold, %.0f %% outside of the second%s",
	         100 * input->beyond_first, 100 * input->beyond_second,
	         input->tlb.second_is_shared ? " (half of it, for data has its share)" : "");
	ctl_print_named(NAME_COLUMNS, "time", text);
	putchar('\n');
}

static void print_object(const struct surveyed *one, double page_bytes)
{
	char touched[16], text[16], huge[16], expected[16] = "-", more[16] = "-";
	unsigned columns = ctl_columns(stdout);
	if (one->is_expected) {
		size_format(one->expected_bytes, expected, sizeof expected);
		size_format(surveyed_more_bytes(one), more, sizeof more);
	}
	printf("%4.0f %%  %9s  %9s  %9s  %9s  %9s  ", 100 * one->time_share,
	       mib(one->touched.pages * page_bytes, touched, sizeof touched),
	       size_format(one->text_bytes, text, sizeof text), size_format(one->huge_bytes, huge, sizeof huge),
	       expected, more);
	ctl_print_cell(one->object->is_jit ? "(JIT compiler's code)" : one->object->path,
	               columns > BEFORE_PATH + 10 ? columns - BEFORE_PATH : 10, false);
	putchar('\n');
}

static enum advice advise_survey(const struct survey *survey, const struct huge_tlb *tlb, char *buf, size_t buf_bytes)
{
	struct advice_input input = survey->input;
	input.huge_tlb = tlb->verdict;
	return advise(&input, buf, buf_bytes);
}

void advise_print(const struct survey *survey, const struct watch *watch, const struct huge_tlb *tlb)
{
	char text[TEXT_BYTES], line[TEXT_BYTES + 32];
	ctl_print_tlb(tlb);
	print_head(&survey->input, watch);
	print_picture(&survey->input);
	printf("\n%6s  %9s  %9s  %9s  %9s  %9s  %s\n", "TIME", "TOUCHED", "TEXT", "HUGE NOW", "HUGEXEC", "MORE RAM",
	       "OBJECT");
	for (unsigned i = 0; i < survey->count; i++)
		print_object(&survey->list[i], (double)survey->input.page_bytes);
	enum advice advice = advise_survey(survey, tlb, text, sizeof text);
	snprintf(line, sizeof line, "%s: %s.", advice_word(advice), text);
	putchar('\n');
	ctl_print_wrapped(0, line);
}

static json_object *object_to_json(const struct surveyed *one, double page_bytes)
{
	json_object *json = json_object_new_object();
	json_object_object_add(json, "path", ctl_text(one->object->path));
	json_object_object_add(json, "jit", json_object_new_boolean(one->object->is_jit));
	json_object_object_add(json, "time_share", json_object_new_double(one->time_share));
	json_object_object_add(json, "touched_bytes",
	                       json_object_new_uint64((uint64_t)(one->touched.pages * page_bytes)));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(one->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(one->huge_bytes));
	json_object_object_add(json, "expected_huge_bytes",
	                       one->is_expected ? json_object_new_uint64(one->expected_bytes) : NULL);
	json_object_object_add(json, "more_memory_bytes",
	                       one->is_expected ? json_object_new_uint64(surveyed_more_bytes(one)) : NULL);
	return json;
}

static json_object *processor_to_json(const struct tlb_sizes *tlb)
{
	static const char *const sources[] = {"processor", "model", "assumed"};
	json_object *json = json_object_new_object();
	json_object_object_add(json, "name", ctl_text(tlb->processor));
	json_object_object_add(json, "first_level_entries", json_object_new_int((int)tlb->first));
	json_object_object_add(json, "first_level_huge_entries", json_object_new_int((int)tlb->first_huge));
	json_object_object_add(json, "second_level_entries", json_object_new_int((int)tlb->second));
	json_object_object_add(json, "second_level_is_shared", json_object_new_boolean(tlb->second_is_shared));
	json_object_object_add(json, "known_from", ctl_text(sources[tlb->source]));
	return json;
}

static json_object *counters_to_json(const struct advice_input *input)
{
	const double *counts = input->counts;
	double instructions = counts[COUNT_INSTRUCTIONS];
	if (!input->has_counters || instructions <= 0)
		return NULL;
	json_object *json = json_object_new_object();
	json_object_object_add(json, "cycles_per_instruction",
	                       json_object_new_double(counts[COUNT_CYCLES] / instructions));
	json_object_object_add(json, "walks_per_1000_instructions",
	                       json_object_new_double(1000 * counts[COUNT_WALKS] / instructions));
	json_object_object_add(json, "walk_cycle_share", json_object_new_double(advice_walk_share(input)));
	return json;
}

void advise_print_json(const struct survey *survey, const struct watch *watch, const struct huge_tlb *tlb)
{
	char text[TEXT_BYTES];
	const struct advice_input *input = &survey->input;
	json_object *json = json_object_new_object(), *objects = json_object_new_array();
	for (unsigned i = 0; i < survey->count; i++)
		json_object_array_add(objects, object_to_json(&survey->list[i], (double)input->page_bytes));
	enum advice advice = advise_survey(survey, tlb, text, sizeof text);
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "tlb", ctl_tlb(tlb));
	json_object_object_add(json, "processor", processor_to_json(&input->tlb));
	json_object_object_add(json, "processes", json_object_new_uint64(watch->process_count));
	json_object_object_add(json, "threads", json_object_new_uint64(watch->thread_count));
	json_object_object_add(json, "seconds", json_object_new_double(input->seconds));
	json_object_object_add(json, "samples", json_object_new_uint64(input->touched.samples));
	json_object_object_add(json, "touched_bytes",
	                       json_object_new_uint64((uint64_t)(input->touched.pages * (double)input->page_bytes)));
	json_object_object_add(json, "beyond_first_level", json_object_new_double(input->beyond_first));
	json_object_object_add(json, "beyond_second_level", json_object_new_double(input->beyond_second));
	json_object_object_add(json, "jit_share", json_object_new_double(input->jit_share));
	json_object_object_add(json, "counters", counters_to_json(input));
	json_object_object_add(json, "objects", objects);
	json_object_object_add(json, "advice", ctl_text(advice_word(advice)));
	json_object_object_add(json, "text", ctl_text(text));
	ctl_print_json(json);
}
