#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/size.h"
#include "engine/backing_file.h"
#include "engine/image.h"
#include "engine/plan.h"
#include "engine/remap.h"

/* Words of reasons that mean "there is nothing to do here", as opposed to "it could not be done". */
static bool is_nothing_to_do(const struct error *reason)
{
	static const char *const words[] = {"text-small", "text-large", "no-text", "no-huge-slot", "text-writable"};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcmp(reason->word, words[i]) == 0)
			return true;
	}
	return false;
}

/* Keep the first refusal's word; add the others' to the detail, so that nothing that was tried goes untold. */
static void add_refusal(struct error *all, enum backing backing, const struct error *refusal)
{
	if (!error_is_set(all)) {
		*all = *refusal;
		return;
	}
	if (strcmp(all->word, refusal->word) == 0 && is_nothing_to_do(refusal))
		return;
	char text[sizeof refusal->word + sizeof refusal->detail + 2];
	error_text(refusal, text, sizeof text);
	size_t used = strlen(all->detail);
	snprintf(all->detail + used, sizeof all->detail - used, "; %s: %s", backing_name(backing), text);
}

/* What is at work on one object. */
struct job {
	struct tracee *tracee;
	struct image *image;
	const struct settings *settings;
	int text_fd;
	struct plan plan;
	bool rebased;
};

/* Try the backing at INDEX of the list. Returns 0 where the text is on huge pages now, else -1 with REFUSAL. */
static int try_backing(struct job *job, unsigned index, struct error *refusal)
{
	const struct settings *settings = job->settings;
	enum backing backing = settings->backing[index];
	bool is_last = index + 1 == settings->backing_count;
	if (backing == BACKING_FILE)
		return backing_file_apply(job->tracee, job->image, job->image->exe_index, settings, job->text_fd, true, is_last,
		                          &job->rebased, &job->plan, refusal);
	uint64_t page_bytes = backing == BACKING_HUGETLB ? settings->page_size_bytes : 2 * MIB;
	plan_make(job->image, job->image->exe_index, settings, page_bytes, &job->plan);
	if (job->plan.range_count == 0) {
		*refusal = job->plan.reason;
		return -1;
	}
	return remap_copy(job->tracee, job->image, &job->plan, settings, backing, job->text_fd, refusal);
}

/* What the kernel says of the object's text: its hull, and what rounding out added to it. */
static uint64_t huge_bytes_of(pid_t pid, const struct plan *plan, enum backing *how)
{
	uint64_t start = plan->text_start;
	uint64_t end = plan->text_end;
	for (unsigned i = 0; i < plan->range_count; i++) {
		start = plan->ranges[i].start < start ? plan->ranges[i].start : start;
		end = plan->ranges[i].end > end ? plan->ranges[i].end : end;
	}
	return remap_huge_bytes(pid, start, end, how);
}

static void note_object(struct report *report, const struct image *image, const struct plan *plan)
{
	report->objects = calloc(1, sizeof report->objects[0]);
	if (!report->objects)
		return;
	report->object_count = 1;
	struct report_object *object = &report->objects[0];
	snprintf(object->path, sizeof object->path, "%s", image->mappings[plan->map_index].path);
	object->start = plan->text_start;
	object->end = plan->text_end;
	object->text_bytes = plan->text_bytes;
	object->huge_bytes = report->huge_bytes;
	object->backing = report->backing;
	object->reason = report->reason;
}

void engine_run(struct tracee *tracee, const struct settings *settings, struct report *report)
{
	struct image image;
	report->outcome = OUTCOME_FAILED;
	report->backing = BACKING_NONE;
	if (image_read(tracee->pid, &image, &report->reason) < 0)
		return;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)tracee->pid);
	cleanup_close int text_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (text_fd < 0 || !image.has_exe) {
		error_set_errno(&report->reason, text_fd < 0 ? errno : ENOENT, "no-proc", "%s", path);
		image_free(&image);
		return;
	}

	struct job job = {.tracee = tracee, .image = &image, .settings = settings, .text_fd = text_fd};
	int done = -1;
	for (unsigned i = 0; i < settings->backing_count && done < 0 && tracee->state == TRACEE_STOPPED; i++) {
		struct error refusal = {0};
		done = try_backing(&job, i, &refusal);
		if (done < 0)
			add_refusal(&report->reason, settings->backing[i], &refusal);
	}
	report->text_bytes = job.plan.text_bytes;
	report->rebased = job.rebased;
	if (done == 0) {
		if (!error_is_set(&report->reason))
			report->reason = job.plan.reason;
		report->huge_bytes = huge_bytes_of(tracee->pid, &job.plan, &report->backing);
		fault_point("verified");
	}
	if (report->huge_bytes > 0)
		report->outcome = OUTCOME_REMAPPED;
	else if (is_nothing_to_do(&report->reason))
		report->outcome = OUTCOME_SKIPPED;
	note_object(report, &image, &job.plan);
	image_free(&image);
}
