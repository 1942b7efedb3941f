/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/page_cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/missing.h"
#include "host/ext4.h"
#include "host/host.h"
#include "host/pages.h"
#include "remap/page_cache_blocks.h"
#include "remap/populate.h"

#define TRIES    2 /* reading anew fails now and then when another CPU still holds a page for a moment */
#define ROUNDS   3 /* and so does a look: what was in use may be free a moment later */
#define PAUSE_US 500
#define DROP_US  (16 * 1000) /* for pages that somebody else has begun to write */

/* How far the child came. It ends by telling one of the others; the last is told by its parent. */
enum child_end { CHILD_UNFINISHED, CHILD_ALL_TRIED, CHILD_UNSUPPORTED, CHILD_TIME_SHORT, CHILD_ENDED };

/* Memory shared with the child, so that what it found out is known even if it has to be killed. */
struct child_result {
	enum child_end end;
	const char *feature; /* of an ext4, a constant: why there are no large folios; NULL: not known */
	struct slot list[PAGE_CACHE_SLOTS_MAX];
};

/* The child's work. */
struct cache_work {
	struct slots *slots;
	int64_t deadline_us;
	int64_t longest_step_us;
	bool proven;  /* reading anew gave a huge folio at least once */
	bool written; /* some of the slots at hand were dirty, and are on their way to the disk */
};

/*
 * Whether another step may be begun: what is dropped must be back in time, or the workload would be worse off than
 * without us. Disks are unsteady, so the longest step until now has to fit twice.
 */
static bool has_time(const struct cache_work *work)
{
	return now_us() + 2 * work->longest_step_us <= work->deadline_us;
}

static void note_step(struct cache_work *work, int64_t started_us)
{
	int64_t took_us = now_us() - started_us;
	if (took_us > work->longest_step_us)
		work->longest_step_us = took_us;
}

/*
 * Collapse what is small. If the kernel does not do that at all it says so at once, without looking at the file's
 * pages. *BUSY: so many it would have collapsed at another moment. Returns whether there was time for all.
 */
static bool collapse_small(struct cache_work *work, unsigned *busy)
{
	struct slots *slots = work->slots;
	*busy = 0;
	for (unsigned i = 0; i < slots->count; i++) {
		if (slots->list[i].state != SLOT_SMALL)
			continue;
		if (!has_time(work))
			return false;
		int64_t started_us = now_us();
		int failed = slot_collapse(slots, i);
		if (!failed)
			slots->list[i].state = SLOT_HUGE;
		*busy += failed == EAGAIN;
		note_step(work, started_us);
	}
	return true;
}

/*
 * A page that somebody looks at, that is dirty or on its way to the disk makes a collapse fail for now (EAGAIN), and
 * the kernel has begun to write it (mm/khugepaged.c, collapse_file()). So it is tried again and again, but for half of
 * the time: what else can be done for the slot takes some, too.
 */
static bool collapse_all(struct cache_work *work)
{
	int64_t until_us = now_us() + (work->deadline_us - now_us()) / 2;
	unsigned busy;
	for (unsigned pause_us = PAUSE_US; collapse_small(work, &busy); pause_us *= 2) {
		if (busy == 0 || now_us() + pause_us > until_us)
			return true;
		usleep(pause_us);
	}
	return false;
}

/*
 * Drop what is not huge of the COUNT slots at INDEXES. What is on its way to the disk cannot be dropped yet: it is
 * tried again, for half of the time if we have set it on its way, and else for a moment.
 */
static void drop_all(struct cache_work *work, const unsigned *indexes, unsigned count)
{
	struct slots *slots = work->slots;
	int64_t until_us = now_us() + (work->written ? (work->deadline_us - now_us()) / 2 : DROP_US);
	for (unsigned pause_us = PAUSE_US;; pause_us *= 2) {
		unsigned left = 0;
		for (unsigned i = 0; i < count; i++) {
			if (slots->list[indexes[i]].state == SLOT_HUGE)
				continue;
			slot_drop(slots, indexes[i]);
			left += slots->sees_cache && slot_is_cached(slots, indexes[i]);
		}
		if (left == 0 || now_us() + pause_us > until_us)
			return;
		usleep(pause_us);
	}
}

/* Drop the COUNT slots at INDEXES and read them anew. Returns whether one of them is huge now. */
static bool read_anew(struct cache_work *work, const unsigned *indexes, unsigned count)
{
	struct slots *slots = work->slots;
	int64_t started_us = now_us();
	unsigned huge = 0;
	for (unsigned tries = 0; tries < TRIES && huge < count; tries++) {
		drop_all(work, indexes, count);
		huge = 0;
		for (unsigned i = 0; i < count; i++) {
			struct slot *slot = &slots->list[indexes[i]];
			if (slot->state != SLOT_HUGE) {
				slot_read(slots, indexes[i]);
				slot_look(slots, indexes[i]);
			}
			huge += slot->state == SLOT_HUGE;
		}
	}
	note_step(work, started_us);
	return huge > 0;
}

/*
 * Begin to write what is dirty of the COUNT slots in BATCH, of this file and no other, as the kernel would within half
 * a minute: an image's layer that was pulled a moment ago is dirty, and its first container would have a copy of its
 * own. sync_file_range(2) and fsync(2) reach no lower layer of an overlayfs, but dropping does. What stays dirty is a
 * memory filesystem's, and cannot be dropped.
 */
static void write_dirty(struct cache_work *work, const unsigned batch[SLOTS_BATCH], unsigned count)
{
	struct slot *list = work->slots->list;
	unsigned dirty = 0, left = 0;
	for (unsigned i = 0; i < count; i++) {
		if (list[batch[i]].state == SLOT_DIRTY) {
			slot_drop(work->slots, batch[i]);
			dirty++;
		}
	}
	if (dirty > 0)
		slots_survey(work->slots, batch, count);
	for (unsigned i = 0; i < count; i++) {
		if (list[batch[i]].state != SLOT_DIRTY)
			continue;
		list[batch[i]].state = SLOT_BUSY;
		left++;
	}
	work->written = dirty > left;
}

/*
 * Survey the next slots from *FROM on that are small, and keep those in BATCH that nobody uses. SLOTS_BATCH at a time,
 * but the first alone: if nothing helps, that is all that a launch pays for.
 */
static unsigned survey_next(struct cache_work *work, unsigned *from, unsigned batch[SLOTS_BATCH])
{
	struct slots *slots = work->slots;
	unsigned count = 0, kept = 0, most = *from == 0 ? 1 : SLOTS_BATCH;
	for (; *from < slots->count && count < most; (*from)++) {
		if (slots->list[*from].state == SLOT_SMALL)
			batch[count++] = *from;
	}
	if (count > 0) {
		slots_survey(slots, batch, count);
		write_dirty(work, batch, count);
	}
	for (unsigned i = 0; i < count; i++) {
		if (slots->list[batch[i]].state == SLOT_SMALL)
			batch[kept++] = batch[i];
	}
	return kept;
}

/* As survey_next(), on and on until there is one to read anew: returns 0 if there is none. Only one while unproven.
 */
static unsigned next_batch(struct cache_work *work, unsigned *from, unsigned batch[SLOTS_BATCH])
{
	unsigned count = 0;
	while (count == 0 && *from < work->slots->count)
		count = survey_next(work, from, batch);
	if (!work->proven && count > 1) {
		*from = batch[1];
		count = 1;
	}
	return count;
}

/* If the caller could not look without waiting for a disk. One that is not huge tells enough of the others. */
static void look_at_first(struct slots *slots)
{
	for (unsigned i = 0; i < slots->count; i++) {
		if (slots->list[i].state == SLOT_SHORT)
			continue;
		slot_look(slots, i);
		if (slots->list[i].state != SLOT_HUGE)
			break;
	}
}

/* Read anew what is small and nobody's. */
static enum child_end read_all_anew(struct cache_work *work)
{
	unsigned batch[SLOTS_BATCH], from = 0, count;
	while ((count = next_batch(work, &from, batch)) > 0) {
		if (!has_time(work))
			return CHILD_TIME_SHORT;
		bool some_huge = read_anew(work, batch, count);
		if (!some_huge && !work->proven)
			return CHILD_UNSUPPORTED;
		work->proven = true;
	}
	return CHILD_ALL_TRIED;
}

static enum child_end make_huge(struct cache_work *work)
{
	struct slots *slots = work->slots;
	if (!slots->sees_cache)
		look_at_first(slots);
	if (!collapse_all(work))
		return CHILD_TIME_SHORT;
	enum child_end end = read_all_anew(work);
	for (unsigned round = 1; round < ROUNDS && end == CHILD_ALL_TRIED && work->proven; round++) {
		if (slots_count(slots, SLOT_BUSY) + slots_count(slots, SLOT_SMALL) == 0)
			break;
		for (unsigned i = 0; i < slots->count; i++) {
			if (slots->list[i].state == SLOT_BUSY)
				slots->list[i].state = SLOT_SMALL;
		}
		usleep(PAUSE_US);
		end = read_all_anew(work);
	}
	return end;
}

/* What is to be done, and where it is written down. */
struct task {
	struct slots *slots;
	struct child_result *found;
	int64_t deadline_us;
};

/*
 * The child: it only asks the kernel to map, read and drop pages of the file. Killed at any step it leaves the page
 * cache with some slots huge, a few perhaps not cached, and all of them right.
 */
static int do_in_child(void *context)
{
	struct task *task = context;
	aside_die_with_caller();
	struct cache_work work = {.slots = task->slots, .deadline_us = task->deadline_us};
	slots_reopen(task->slots);
	task->found->end = make_huge(&work);
	if (task->found->end == CHILD_UNSUPPORTED)
		task->found->feature = ext4_feature_against_large_folios(task->slots->fd);
	return 0;
}

/* Do the slow part, in a child if the caller itself must not wait. Returns 0, or -1 with ERR if there is none. */
static int do_slow_part(struct slots *slots, struct child_result *found, unsigned timeout_ms, bool may_wait,
                        struct error *err)
{
	struct task task = {slots, found, now_us() + (int64_t)timeout_ms * 1000};
	int timeout = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
	int result = may_wait ? do_in_child(&task) : aside(do_in_child, &task, timeout, -1);
	if (result < 0 && errno == EAGAIN)
		return error_set(err, REASON_PROCESS_LIMIT, "no process to prepare the page cache");
	bool in_time = result >= 0 || errno != ETIMEDOUT;
	if (in_time && found->end == CHILD_UNFINISHED)
		found->end = CHILD_ENDED; /* by a seccomp filter, or someone's kill(1) */
	return 0;
}

static void explain(const struct slots *slots, const struct child_result *found, unsigned timeout_ms, struct error *err)
{
	enum child_end end = found->end;
	unsigned huge = slots_count(slots, SLOT_HUGE), cut = slots_count(slots, SLOT_SHORT);
	if (huge == slots->count)
		return;
	if (huge + cut == slots->count)
		error_set(err, REASON_FILE_SHORT, "the file ends before %u of its %u huge pages", cut, slots->count);
	else if (end == CHILD_UNFINISHED || end == CHILD_TIME_SHORT)
		error_set(err, REASON_FILE_TIMEOUT, "%u of %u huge pages could be read in %u ms", huge, slots->count,
		          timeout_ms);
	else if (end == CHILD_ENDED)
		error_set(err, REASON_FILE_UNSUPPORTED,
		          "the child that prepared the page cache was killed; by a seccomp filter?");
	else if (end == CHILD_UNSUPPORTED && found->feature)
		error_set(err, REASON_FILE_UNSUPPORTED,
		          "this ext4 has the feature %s, which keeps the kernel from large folios on all of it",
		          found->feature);
	else if (end == CHILD_UNSUPPORTED)
		error_set(err, REASON_FILE_UNSUPPORTED,
		          "this filesystem and kernel read the file into small folios, or no memory is left in such "
		          "large pieces");
	else
		error_set(
		    err, REASON_FILE_BUSY,
		    "%u of %u slots are huge; %u are mapped in small pages by another process, or could not be written "
		    "to the disk in time, which sync(1) makes up for",
		    huge, slots->count, slots->count - huge - cut);
}

/*
 * A plain start reads what it touches. Whole slots are more than that, so if memory is short they are not read:
 * going to the limit would cost others their cache, or wake the OOM killer.
 */
static int check_memory(const struct slots *slots, struct error *err)
{
	uint64_t bytes = slots_count(slots, SLOT_SMALL) * host_pages()->huge_bytes;
	return host_check_memory(getpid(), bytes, "the text, all of it in memory,", err);
}

static int look_and_make_huge(struct slots *slots, struct child_result *found, unsigned timeout_ms, bool may_wait,
                              struct error *err)
{
	/* Without a view of the cache even a look might wait for a disk. */
	if (slots->sees_cache)
		slots_look(slots);
	if (slots_count(slots, SLOT_SMALL) > 0) {
		if (slots->sees_cache && check_memory(slots, err) < 0)
			return 0;
		if (do_slow_part(slots, found, timeout_ms, may_wait, err) < 0)
			return -1;
	}
	explain(slots, found, timeout_ms, err);
	return 0;
}

static int make_ranges_huge(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms, bool may_wait,
                            uint64_t *huge_bytes, struct error *err)
{
	struct stat st;
	struct slots slots;
	*huge_bytes = 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, REASON_FILE_UNSUPPORTED, "not a plain file");
	if (!populate_knows_advice(MADV_POPULATE_READ))
		return error_set(err, REASON_FILE_UNSUPPORTED, "this kernel has no MADV_POPULATE_READ (Linux 5.14)");
	/* Bit 1 alone would spare mappings with MADV_HUGEPAGE (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18). */
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
		return error_set(err, REASON_FILE_UNSUPPORTED,
		                 "huge pages are switched off for this process (PR_SET_THP_DISABLE)");
	struct child_result *found =
	    mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED)
		return error_set_errno(err, errno, REASON_ADDRESS_SPACE_LIMIT, "no memory to look at the file");
	int result = slots_of_ranges(ranges, count, (uint64_t)st.st_size, host_pages()->huge_bytes, found->list, err);
	if (result > 0) {
		result = slots_open(&slots, fd, found->list, (unsigned)result, err);
		if (result == 0)
			result = look_and_make_huge(&slots, found, timeout_ms, may_wait, err);
		*huge_bytes = slots_count(&slots, SLOT_HUGE) * host_pages()->huge_bytes;
		slots_close(&slots);
	}
	munmap(found, sizeof *found);
	return result;
}

int page_cache_make_huge(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms,
                         uint64_t *huge_bytes, struct error *err)
{
	return make_ranges_huge(fd, ranges, count, timeout_ms, false, huge_bytes, err);
}

int page_cache_make_huge_here(int fd, const struct file_range *ranges, unsigned count, unsigned timeout_ms,
                              uint64_t *huge_bytes, struct error *err)
{
	return make_ranges_huge(fd, ranges, count, timeout_ms, true, huge_bytes, err);
}

static int look_only(struct slots *slots, struct page_cache_state *out, struct error *err)
{
	unsigned batch[SLOTS_BATCH], count = 0;
	if (!slots->sees_cache)
		return error_set(
		    err, REASON_FILE_HIDDEN,
		    "the kernel tells only the file's owner what is in the page cache; run hugexec as root");
	for (unsigned i = 0; i < slots->count; i++) {
		if (slots->list[i].state == SLOT_SMALL)
			batch[count++] = i;
		if (count > 0 && (count == SLOTS_BATCH || i + 1 == slots->count)) {
			slots_survey(slots, batch, count);
			count = 0;
		}
	}
	*out = (struct page_cache_state){
	    .huge_bytes = slots_count(slots, SLOT_HUGE) * host_pages()->huge_bytes,
	    .busy_bytes = slots_count(slots, SLOT_BUSY) * host_pages()->huge_bytes,
	    .small_bytes = (slots_count(slots, SLOT_SMALL) + slots_count(slots, SLOT_DIRTY)) * host_pages()->huge_bytes,
	    .short_bytes = slots_count(slots, SLOT_SHORT) * host_pages()->huge_bytes,
	};
	return 0;
}

int page_cache_look(int fd, const struct file_range *ranges, unsigned count, struct page_cache_state *out,
                    struct error *err)
{
	struct stat st;
	struct slots slots;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, REASON_FILE_UNSUPPORTED, "not a plain file");
	cleanup_free struct slot *list = calloc(PAGE_CACHE_SLOTS_MAX, sizeof *list);
	if (!list)
		return error_set_errno(err, ENOMEM, REASON_FILE_UNSUPPORTED, "looking at the file");
	int result = slots_of_ranges(ranges, count, (uint64_t)st.st_size, host_pages()->huge_bytes, list, err);
	if (result < 0)
		return -1;
	result = slots_open(&slots, fd, list, (unsigned)result, err);
	if (result == 0)
		result = look_only(&slots, out, err);
	slots_close(&slots);
	return result;
}
