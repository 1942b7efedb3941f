/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/size.h"
#include "host/pages.h"
#include "mm/mapped_file.h"
#include "mm/maps.h"
#include "remap/backing.h"
#include "remap/backing_file.h"
#include "remap/elf_object.h"
#include "remap/plan.h"
#include "remap/remap_program.h"

/* How much of the text BACKING would cover; 0 with REASON if none. TEXT_BYTES: how much there is. */
static uint64_t covered_by(enum backing backing, const struct address_space *space, const struct settings *settings,
                           bool may_move, uint64_t *text_bytes, struct error *reason)
{
	struct plan plan = {0};
	uint64_t page_bytes = backing == BACKING_HUGETLB ? hugetlb_page_bytes(settings) : host_pages()->huge_bytes;
	if (backing == BACKING_FILE)
		backing_file_plan(space, space->exe_index, settings, may_move, &plan, reason);
	else
		plan_make(space, space->exe_index, settings, page_bytes, &plan);
	*text_bytes = plan.text_bytes;
	if (plan.range_bytes == 0)
		*reason = plan.reason;
	return plan.range_bytes < plan.text_bytes ? plan.range_bytes : plan.text_bytes;
}

void remap_observe(pid_t pid, const struct settings *settings, bool may_move, struct report *report)
{
	struct address_space space;
	struct error reason = {0};
	char huge[16], text[16];
	report->outcome = OUTCOME_FAILED;
	report->backing = BACKING_NONE;
	if (address_space_read(pid, &space, &report->reason) < 0)
		return;
	bool has_program = space.has_exe || mapped_file_find_exe(&space, pid, &report->reason) == 0;
	for (unsigned i = 0; has_program && i < settings->backing_count && report->observed_bytes == 0; i++) {
		struct error why = {0};
		enum backing backing = settings->backing[i];
		report->observed_bytes = covered_by(backing, &space, settings, may_move, &report->text_bytes, &why);
		if (!error_is_set(&reason))
			reason = why;
		if (report->observed_bytes > 0)
			error_set(&report->reason, REASON_OBSERVED,
			          "nothing was done: up to %s of %s of text would come on huge pages (%s)",
			          size_format(report->observed_bytes, huge, sizeof huge),
			          size_format(report->text_bytes, text, sizeof text), backing_name(backing));
	}
	address_space_free(&space);
	if (has_program && report->observed_bytes == 0)
		report->reason = reason;
	if (report->observed_bytes > 0 || is_nothing_to_do(&report->reason))
		report->outcome = OUTCOME_SKIPPED;
}
