/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/explain.h"

#include <string.h>

#include "ctl/explain_backing.h"
#include "host/pages.h"
#include "remap/backing.h"
#include "remap/elf_object.h"

void explain_plan(struct explanation *explanation)
{
	const struct settings *settings = &explanation->decision.settings;
	struct forecast *forecast = &explanation->forecast;
	struct forecast *hugetlb_forecast = &explanation->hugetlb_forecast;
	if (error_is_set(&explanation->elf_error))
		return;
	forecast_make(&explanation->elf, settings, host_pages(), host_pages()->huge_bytes, forecast);
	forecast_make(&explanation->elf, settings, host_pages(), hugetlb_page_bytes(settings), hugetlb_forecast);
	if (error_is_set(&explanation->ruled_out)) {
		forecast->fewest_bytes = forecast->most_bytes = 0;
		return;
	}
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

static void conclude_remap(const struct explanation *explanation, struct conclusion *out)
{
	const struct settings *settings = &explanation->decision.settings;
	bool fails = settings->on_error == ON_ERROR_FAIL;
	*out = (struct conclusion){.remaps = VERDICT_FAILS, .starts = VERDICT_WORKS};
	out->reason = explanation->ruled_out;
	if (error_is_set(&out->reason))
		return;
	if (error_is_set(&explanation->elf_error)) {
		out->reason = explanation->elf_error;
		/* A reader that did not answer says nothing about the program; a broken one is the kernel's to refuse.
		 */
		bool is_broken = out->reason.code == REASON_ELF_INVALID;
		out->remaps = is_broken ? VERDICT_FAILS : VERDICT_UNKNOWN;
		out->starts = fails && !is_broken ? VERDICT_UNKNOWN : VERDICT_WORKS;
		return;
	}
	out->remaps = judge_text(explanation, &out->reason);
	if (fails && !is_nothing_to_do(&out->reason))
		out->starts = out->remaps;
	if (out->remaps != VERDICT_FAILS || out->starts == VERDICT_FAILS)
		return;
	out->libraries = explained_libraries_hope(&explanation->libraries);
	if (out->libraries != HOPE_NONE)
		out->remaps = VERDICT_UNKNOWN;
	else if (is_nothing_to_do(&out->reason) && error_is_set(&explanation->no_follow))
		out->reason = explanation->no_follow; /* an interpreter that is not followed: as the launch tells it */
}

void explain_conclude(const struct explanation *explanation, struct conclusion *out)
{
	conclude_remap(explanation, out);
	if (explanation->decision.action != ACTION_OBSERVE || error_is_set(&explanation->ruled_out))
		return;
	if (out->remaps != VERDICT_FAILS)
		error_set(&out->reason, REASON_OBSERVED, "the rule says to do nothing, and to say what would be done");
	out->remaps = VERDICT_FAILS;
	out->libraries = HOPE_NONE;
}
