/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/advice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

#define SAMPLES_MIN   200 /* fewer tell nothing of a program that hardly runs */
#define SAMPLES_SURE  1000
#define WALK_CYCLES   25.0 /* of a walk whose tables are in a near cache */
#define WALKS_YES     0.03 /* shares of cycles */
#define WALKS_MAYBE   0.005
#define BEYOND_YES    0.10 /* shares of the time outside of what a level holds */
#define BEYOND_MAYBE  0.02
#define FIRST_MAYBE   0.20
#define MOST          0.5 /* of the time */
#define JIT_LEAST     0.05
#define COVERED_LEAST 0.1

double advice_second_entries(const struct tlb_sizes *tlb)
{
	return tlb->second_is_shared ? tlb->second / 2.0 : tlb->second;
}

double advice_walk_share(const struct advice_input *input)
{
	const double *counts = input->counts;
	double cycles = counts[COUNT_CYCLES];
	if (cycles <= 0)
		return 0;
	return counts[COUNT_WALK_CYCLES] > 0 ? counts[COUNT_WALK_CYCLES] / cycles
	                                     : counts[COUNT_WALKS] * WALK_CYCLES / cycles;
}

const char *advice_word(enum advice advice)
{
	static const char *const words[] = {"yes", "maybe", "no", "unknown"};
	return words[advice];
}

static enum advice by_counters(const struct advice_input *input, char *buf, size_t buf_bytes)
{
	double share = advice_walk_share(input);
	bool is_estimate = input->counts[COUNT_WALK_CYCLES] <= 0;
	snprintf(buf, buf_bytes, "%s%.1f %% of its cycles are page walks for instructions (%s)",
	         is_estimate ? "about " : "", 100 * share,
	         is_estimate ? "walks were counted, at 25 cycles each; fairly sure" : "counted; sure");
	return share >= WALKS_YES ? ADVICE_YES : share >= WALKS_MAYBE ? ADVICE_MAYBE : ADVICE_NO;
}

static enum advice by_samples(const struct advice_input *input, char *buf, size_t buf_bytes)
{
	char size[16];
	const char *sure = input->touched.samples >= SAMPLES_SURE ? "fairly sure" : "not sure";
	size_format((uint64_t)(input->touched.pages * (double)input->page_bytes), size, sizeof size);
	if (input->beyond_second >= BEYOND_MAYBE) {
		snprintf(buf, buf_bytes,
		         "it touches %s of text, %.0f %% of the time outside of what the TLB can hold (%s: no "
		         "counters "
		         "here, by %ju samples)",
		         size, 100 * input->beyond_second, sure, (uintmax_t)input->touched.samples);
		return input->beyond_second >= BEYOND_YES ? ADVICE_YES : ADVICE_MAYBE;
	}
	bool is_second = input->beyond_first >= FIRST_MAYBE;
	snprintf(buf, buf_bytes, "the %s of text that it touches fit the TLB%s (%s: no counters here, by %ju samples)",
	         size, is_second ? "'s second level, which costs a few cycles a time" : "", sure,
	         (uintmax_t)input->touched.samples);
	return is_second ? ADVICE_MAYBE : ADVICE_NO;
}

__attribute__((format(printf, 3, 4))) static void append(char *buf, size_t buf_bytes, const char *format, ...)
{
	size_t length = strlen(buf);
	va_list args;
	va_start(args, format);
	vsnprintf(buf + length, buf_bytes - length, format, args);
	va_end(args);
}

/* What of the time the advice is about, and what stands against it. */
static enum advice limit(const struct advice_input *input, enum advice advice, char *buf, size_t buf_bytes)
{
	if (input->jit_share >= JIT_LEAST)
		append(buf, buf_bytes,
		       "; %.0f %% of the time it is in code that a JIT compiler has made, which hugexec leaves alone",
		       100 * input->jit_share);
	if (advice == ADVICE_NO)
		return advice;
	if (input->huge_share >= MOST) {
		append(buf, buf_bytes, "; but its text is on huge pages already, where it is %.0f %% of the time",
		       100 * input->huge_share);
		return ADVICE_NO;
	}
	if (input->covered_share < COVERED_LEAST) {
		append(buf, buf_bytes, "; but hugexec would put text on huge pages where it is %.0f %% of the time",
		       100 * input->covered_share);
		return ADVICE_NO;
	}
	if (input->huge_tlb == TLB_SPLITS)
		append(buf, buf_bytes, "; but that is of another machine, for this one's TLB holds no huge pages");
	return input->jit_share >= MOST ? ADVICE_MAYBE : advice;
}

enum advice advise(const struct advice_input *input, char *buf, size_t buf_bytes)
{
	if (input->touched.samples < SAMPLES_MIN) {
		snprintf(buf, buf_bytes,
		         "it hardly ran: %ju samples in %.1f s. Watch it under load, or for longer (--seconds)",
		         (uintmax_t)input->touched.samples, input->seconds);
		return ADVICE_UNKNOWN;
	}
	enum advice advice =
	    input->has_counters ? by_counters(input, buf, buf_bytes) : by_samples(input, buf, buf_bytes);
	return limit(input, advice, buf, buf_bytes);
}
