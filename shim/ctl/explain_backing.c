/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/explain_backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/ext4.h"
#include "host/host.h"
#include "host/pages.h"
#include "remap/backing.h"
#include "remap/page_cache.h"
#include "remap/text_blocks.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define VERSION(major, minor) ((major)*1000U + (minor))

/* Filesystems, and the first kernel that reads them into huge folios. */
static const struct filesystem {
	unsigned long magic;
	const char *name;
	unsigned since;
} large_folios[] = {
    {XFS_SUPER_MAGIC, "xfs", VERSION(5, 18)},
    {EXT4_SUPER_MAGIC, "ext4", VERSION(6, 16)},
    {TMPFS_MAGIC, "tmpfs", VERSION(6, 1)},
};

/* From here on huge folios are made of dirty and mapped pages, too. */
#define COLLAPSES_IN_USE VERSION(7, 2)

/* From here on an ext4 with the feature verity has large folios. */
#define VERITY_HAS_FOLIOS VERSION(7, 2)

static unsigned kernel_version(void)
{
	struct utsname host;
	unsigned major = 0, minor = 0;
	if (uname(&host) == 0)
		sscanf(host.release, "%u.%u", &major, &minor);
	return VERSION(major, minor);
}

/* The filesystem of FD if it is known that this kernel has large folios for it, else NULL. */
static const struct filesystem *known_filesystem(int fd)
{
	struct statfs about;
	if (fstatfs(fd, &about) < 0)
		return NULL;
	for (size_t i = 0; i < sizeof large_folios / sizeof large_folios[0]; i++) {
		if (large_folios[i].magic == (unsigned long)about.f_type)
			return kernel_version() >= large_folios[i].since ? &large_folios[i] : NULL;
	}
	return NULL;
}

static bool is_last(const struct explanation *explanation, enum backing backing)
{
	const struct settings *settings = &explanation->decision.settings;
	return settings->backing[settings->backing_count - 1] == backing;
}

/* If some slots cannot be had: a launch is content with the others only if nothing better comes after. */
static void judge_part(const struct explanation *explanation, const struct page_cache_state *state,
                       struct backing_outlook *outlook)
{
	uint64_t left_bytes = state->huge_bytes + state->small_bytes, all_bytes = left_bytes + state->busy_bytes;
	if (state->short_bytes > 0)
		error_set(&outlook->reason, REASON_FILE_SHORT, "the file ends before all of its text");
	else
		error_set(&outlook->reason, REASON_FILE_BUSY,
		          "%" PRIu64 " of %" PRIu64 " slots are mapped in small pages by another process",
		          state->busy_bytes / host_pages()->huge_bytes, all_bytes / host_pages()->huge_bytes);
	if (left_bytes == 0 || !is_last(explanation, BACKING_FILE))
		return;
	outlook->verdict = VERDICT_WORKS;
	outlook->bytes = left_bytes < outlook->bytes ? left_bytes : outlook->bytes;
}

/* The folder that the program is in, into FOLDER. Returns FOLDER. */
static const char *folder_of(const struct explanation *explanation, char folder[PATH_MAX])
{
	snprintf(folder, PATH_MAX, "%s", explanation->program.path);
	char *slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	return folder;
}

static void judge_cache(const struct explanation *explanation, int fd, const struct page_cache_state *state,
                        struct backing_outlook *outlook)
{
	const struct filesystem *filesystem = known_filesystem(fd);
	const char *feature = ext4_feature_against_large_folios(fd);
	if (feature && strcmp(feature, "verity") == 0 && kernel_version() >= VERITY_HAS_FOLIOS)
		feature = NULL;
	char folder[PATH_MAX];
	bool is_tmpfs = filesystem && filesystem->magic == TMPFS_MAGIC; /* its pages are always dirty */
	bool some_huge = state->huge_bytes > 0;
	bool in_use_is_no_matter = filesystem && (is_tmpfs || kernel_version() >= COLLAPSES_IN_USE);
	if (!some_huge && feature) {
		error_set(&outlook->reason, REASON_FILE_UNSUPPORTED,
		          "this ext4 has the feature %s, which keeps the kernel from large folios on all of it",
		          feature);
	} else if (!some_huge && !filesystem) {
		outlook->verdict = VERDICT_UNKNOWN;
		error_set(&outlook->reason, REASON_FILE_UNSUPPORTED,
		          "not known of this filesystem and kernel; to test it: hugexecctl doctor %.200s",
		          folder_of(explanation, folder));
	} else if (state->short_bytes > 0 || (state->busy_bytes > 0 && !in_use_is_no_matter)) {
		judge_part(explanation, state, outlook);
	} else if (host_check_memory(getpid(), state->small_bytes, "the text, all of it in memory,",
	                             &outlook->reason) == 0) {
		outlook->verdict = VERDICT_WORKS;
		if (state->small_bytes + state->busy_bytes == 0)
			snprintf(outlook->note, sizeof outlook->note, "on huge pages in the page cache already");
		else
			snprintf(outlook->note, sizeof outlook->note, "to test it: hugexecctl doctor %.200s",
			         folder_of(explanation, folder));
	}
}

/* What forbids it whatever the page cache holds. */
static int check_mapping(int fd, struct error *err)
{
	struct statvfs about;
	if (fd < 0)
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "opening it");
	if (fstatvfs(fd, &about) == 0 && (about.f_flag & ST_NOEXEC))
		return error_set(err, REASON_FILE_UNSUPPORTED, "mounted noexec: no program runs from it");
	/* Bit 1 alone would spare mappings with MADV_HUGEPAGE (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18). */
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
		return error_set(err, REASON_FILE_UNSUPPORTED,
		                 "huge pages are switched off for this process (PR_SET_THP_DISABLE)");
	return 0;
}

void explain_file_backing(const struct explanation *explanation, struct backing_outlook *outlook)
{
	const struct settings *settings = &explanation->decision.settings;
	struct text_slots slots;
	struct page_cache_state state;
	outlook->bytes = explanation->forecast.file_bytes;
	outlook->copied_bytes = explanation->forecast.copied_bytes;
	if (outlook->bytes == 0) {
		error_set(&outlook->reason, REASON_FILE_MISALIGNED,
		          "offset and address of its text differ modulo a huge page%s",
		          settings->rebase ? ", or no whole slot lies inside" : ", and rebase is off");
		return;
	}
	cleanup_close int fd = open(explanation->program.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (check_mapping(fd, &outlook->reason) < 0)
		return;
	if (settings_rounds_out(settings))
		text_slots_rounded(&explanation->elf, host_pages(), &slots);
	else
		text_slots_of(&explanation->elf, false, host_pages()->huge_bytes, &slots);
	if (page_cache_look(fd, slots.ranges, slots.count, &state, &outlook->reason) < 0)
		outlook->verdict = outlook->reason.code == REASON_FILE_HIDDEN ? VERDICT_UNKNOWN : VERDICT_FAILS;
	else
		judge_cache(explanation, fd, &state, outlook);
	if (outlook->verdict == VERDICT_WORKS && !error_is_set(&outlook->reason))
		outlook->reason = explanation->forecast.file_reason;
}

void explain_copy(const struct explanation *explanation, const struct forecast *forecast,
                  struct backing_outlook *outlook)
{
	bool is_thp = outlook->backing == BACKING_THP;
	const struct backing_copy *backing = is_thp ? &backing_thp : &backing_hugetlb;
	outlook->bytes = forecast->most_bytes;
	if (outlook->bytes == 0)
		outlook->reason = forecast->reason;
	else if (backing->check(getpid(), outlook->bytes, &explanation->decision.settings, &outlook->reason) < 0)
		return;
	else if (is_thp && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1)
		error_set(&outlook->reason, REASON_THP_REFUSED,
		          "huge pages are switched off for this process (PR_SET_THP_DISABLE)");
	else
		outlook->verdict = VERDICT_WORKS;
}
