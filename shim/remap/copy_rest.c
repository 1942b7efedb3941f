/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/copy_rest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "host/pages.h"
#include "mm/cow_pages.h"
#include "remap/plan_rest.h"
#include "remap/private_copy.h"

/* A text mapping of the file that OBJECT is of, as the index in SPACE; -1: none. */
static ssize_t find_text(const struct address_space *space, const struct mapping *object)
{
	for (size_t i = 0; i < space->count; i++) {
		if (mapping_same_file(&space->mappings[i], object) && mapping_is_text(&space->mappings[i]))
			return (ssize_t)i;
	}
	return -1;
}

/* Have the pieces that are in no file read from the tracee, into a fresh buffer that *BYTES then is. */
static int read_pieces(const struct tracee *tracee, struct plan *plan, char **bytes, struct error *err)
{
	uint64_t needed = 0, used = 0;
	for (unsigned i = 0; i < plan->piece_count; i++)
		needed += plan->pieces[i].in_memory ? plan->pieces[i].end - plan->pieces[i].start : 0;
	*bytes = needed ? malloc(needed) : NULL;
	if (needed && !*bytes)
		return error_set_errno(err, ENOMEM, REASON_REMAP, "reading relocation data");
	for (unsigned i = 0; i < plan->piece_count; i++) {
		struct plan_piece *piece = &plan->pieces[i];
		uint64_t count = piece->end - piece->start;
		if (!piece->in_memory)
			continue;
		if (tracee_read(tracee, piece->start, *bytes + used, count) != (ssize_t)count)
			return error_set_errno(err, errno, REASON_REMAP, "reading relocation data");
		piece->bytes = *bytes + used;
		used += count;
	}
	return 0;
}

/* With the first backing that can, in the policy's order. */
static int copy(struct tracee *tracee, const struct address_space *space, const struct settings *settings, int fd,
                const struct plan *plan, struct error *err)
{
	struct settings small = *settings;
	small.page_size_bytes = plan->page_bytes;
	error_set(err, REASON_NO_COPY, "some of its text needs a private copy; add thp to the policy's backing");
	for (unsigned i = 0; i < settings->backing_count && tracee->state == TRACEE_STOPPED; i++) {
		struct error refusal = {0};
		if (settings->backing[i] == BACKING_FILE)
			continue;
		if (remap_copy(tracee, space, plan, &small, settings->backing[i], fd, &refusal) == 0)
			return 0;
		*err = refusal;
	}
	return -1;
}

static int copy_planned(struct tracee *tracee, struct address_space *space, size_t text_index,
                        const struct settings *settings, int fd, bool is_loaded, uint64_t max_bytes, struct plan *plan,
                        struct error *err)
{
	cleanup_free char *bytes = NULL;
	private_pages_note(space, text_index, tracee->pid);
	plan_rest(space, text_index, settings, is_loaded, host_pages()->huge_bytes, max_bytes, plan);
	if (plan->range_count == 0)
		return 0;
	if (read_pieces(tracee, plan, &bytes, err) < 0)
		return -1;
	int result = copy(tracee, space, settings, fd, plan, err);
	for (unsigned i = 0; i < plan->piece_count; i++)
		plan->pieces[i].bytes = NULL;
	return result;
}

int copy_rest(struct tracee *tracee, const struct mapping *object, const struct settings *settings, int fd,
              bool is_loaded, uint64_t max_bytes, struct plan *plan, struct error *err)
{
	struct address_space space;
	*plan = (struct plan){0};
	if (address_space_read(tracee->pid, &space, err) < 0)
		return -1;
	ssize_t text = find_text(&space, object);
	int result =
	    text < 0 ? 0 : copy_planned(tracee, &space, (size_t)text, settings, fd, is_loaded, max_bytes, plan, err);
	address_space_free(&space);
	return result;
}

bool rest_waits_for_loader(const struct tracee *tracee, const struct mapping *object, const struct settings *settings)
{
	struct address_space space;
	struct plan plan = {0};
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return false;
	ssize_t text = find_text(&space, object);
	if (text >= 0)
		plan_rest(&space, (size_t)text, settings, false, host_pages()->huge_bytes, UINT64_MAX, &plan);
	address_space_free(&space);
	return plan.has_data_beside;
}
