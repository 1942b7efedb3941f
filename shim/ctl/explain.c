#include "ctl/explain.h"

#include <string.h>

#include "base/size.h"
#include "ctl/explain_backing.h"
#include "remap/elf_object.h"

void explain_plan(struct explanation *explanation)
{
	const struct settings *settings = &explanation->decision.settings;
	struct forecast *forecast = &explanation->forecast;
	struct forecast *hugetlb_forecast = &explanation->hugetlb_forecast;
	if (error_is_set(&explanation->elf_error))
		return;
	forecast_make(&explanation->elf, settings, 2 * MIB, forecast);
	forecast_make(&explanation->elf, settings, settings->page_size_bytes, hugetlb_forecast);
	if (explanation->program.kind == PROGRAM_FOREIGN)
		return;
	if ((forecast->most_bytes | forecast->file_bytes | hugetlb_forecast->most_bytes) == 0)
		return;
	for (unsigned i = 0; i < settings->backing_count; i++) {
		struct backing_outlook *outlook = &explanation->outlooks[explanation->outlook_count++];
		*outlook = (struct backing_outlook){.backing = settings->backing[i], .verdict = VERDICT_FAILS};
		switch (outlook->backing) {
		case BACKING_FILE: explain_file_backing(explanation, outlook); break;
		case BACKING_HUGETLB: explain_copy(explanation, hugetlb_forecast, outlook); break;
		default: explain_copy(explanation, forecast, outlook); break;
		}
	}
}

/* What decides before the program's text is looked at; REASON is unset where that leaves it open. */
static void rule_out(const struct explanation *explanation, struct error *reason)
{
	const struct decision *decision = &explanation->decision;
	const struct program *program = &explanation->program;
	*reason = explanation->settled;
	if (error_is_set(reason))
		return;
	if (!program_may_be_traced(program))
		program_privileged_error(program, reason);
	else if (program->kind == PROGRAM_FOREIGN)
		error_set(reason, "not-native", "not a program for this processor's 64-bit mode");
	else if (decision->action == ACTION_SKIP && decision->rule_matched)
		error_set(reason, "rule-skip", "the rule says to leave it alone");
	else if (decision->action == ACTION_SKIP)
		error_set(reason, "no-rule", "no rule matches");
	else if (explanation->is_wrapper)
		error_set(reason, "wrapper", "it is followed for what it executes, and left alone itself");
}

/* What the backings could do for the program's own text. */
static enum verdict judge_text(const struct explanation *explanation, struct error *reason)
{
	const struct backing_outlook *open = NULL;
	for (unsigned i = 0; i < explanation->outlook_count; i++) {
		const struct backing_outlook *outlook = &explanation->outlooks[i];
		if (outlook->verdict == VERDICT_WORKS)
			return VERDICT_WORKS;
		if (outlook->verdict == VERDICT_UNKNOWN && !open)
			open = outlook;
	}
	*reason = open                         ? open->reason
	          : explanation->outlook_count ? explanation->outlooks[0].reason
	                                       : explanation->forecast.reason;
	return open ? VERDICT_UNKNOWN : VERDICT_FAILS;
}

void explain_conclude(const struct explanation *explanation, struct conclusion *out)
{
	const struct settings *settings = &explanation->decision.settings;
	bool fails = settings->on_error == ON_ERROR_FAIL;
	*out = (struct conclusion){.remaps = VERDICT_FAILS, .starts = VERDICT_WORKS};
	rule_out(explanation, &out->reason);
	if (error_is_set(&out->reason))
		return;
	if (error_is_set(&explanation->elf_error)) {
		out->reason = explanation->elf_error;
		/* A reader that did not answer says nothing about the program; a broken one is the kernel's to refuse.
		 */
		bool is_broken = strcmp(out->reason.word, "elf-invalid") == 0;
		out->remaps = is_broken ? VERDICT_FAILS : VERDICT_UNKNOWN;
		out->starts = fails && !is_broken ? VERDICT_UNKNOWN : VERDICT_WORKS;
		return;
	}
	out->remaps = judge_text(explanation, &out->reason);
	if (fails && !is_nothing_to_do(&out->reason))
		out->starts = out->remaps;
	out->only_libraries = out->remaps == VERDICT_FAILS && out->starts != VERDICT_FAILS && settings->libraries &&
	                      explanation->elf.has_interp;
	if (out->only_libraries)
		out->remaps = VERDICT_UNKNOWN;
}
