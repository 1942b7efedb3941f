/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "host/pages.h"
#include "remap/text_blocks.h"

#define READ_TIMEOUT_MS 30000 /* for a disk that hangs; nobody is held meanwhile */
#define STEP_PAGES      32    /* huge ones */
#define STEP_TIMEOUT_MS 60000 /* a disk of 2 MiB/s is in time; nobody waits for us but the boot */

/* In steps, so that progress can be told. What the filesystem cannot do for one it cannot do for the others. */
static void warm_ranges(int fd, const struct file_range *ranges, unsigned count, warm_observer *observe, void *context,
                        struct warmed *out)
{
	uint64_t done_bytes = 0, step_bytes = STEP_PAGES * host_pages()->huge_bytes;
	for (unsigned i = 0; i < count; i++) {
		for (uint64_t at = 0; at < ranges[i].bytes; at += step_bytes) {
			uint64_t left = ranges[i].bytes - at, huge_bytes = 0;
			struct file_range step = {ranges[i].file_off + at, left < step_bytes ? left : step_bytes};
			struct error err = {0};
			page_cache_make_huge(fd, &step, 1, STEP_TIMEOUT_MS, &huge_bytes, &err);
			out->huge_bytes += huge_bytes;
			done_bytes += step.bytes;
			if (error_is_set(&err) && !error_is_set(&out->reason))
				out->reason = err;
			if (err.code == REASON_FILE_UNSUPPORTED || err.code == REASON_FILE_TIMEOUT)
				return;
			if (observe)
				observe(context, done_bytes, out->slot_bytes);
		}
	}
}

/* As SLOTS are without a copy for all processes, or if there is one, those beside it. */
static void share(const char *path, const struct elf_info *elf, struct text_slots *slots, struct warmed *out)
{
	share_make(path, elf, &out->shared);
	if (error_is_set(&out->shared.reason))
		out->reason = out->shared.reason;
	if (out->shared.copy_bytes == 0)
		return;
	text_slots_of(elf, true, host_pages()->huge_bytes, slots);
	if (slots->reason.code == REASON_FILE_MISALIGNED)
		slots->reason = (struct error){0};
}

void warm_file(const char *path, bool with_rodata, bool with_shared, warm_observer *observe, void *context,
               struct warmed *out)
{
	struct stat st;
	struct reader reader;
	struct elf_info elf;
	struct text_slots slots;
	*out = (struct warmed){0};
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		out->missing = errno == ENOENT || errno == ENOTDIR;
		error_set_errno(&out->reason, errno, REASON_TEXT_UNREADABLE, "opening %s", path);
		return;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(&out->reason, REASON_TEXT_UNREADABLE, "%s is not a plain file", path);
		return;
	}
	if (elf_reader_start(&reader, fd, &out->reason) < 0 ||
	    elf_reader_finish(&reader, READ_TIMEOUT_MS, &elf, &out->reason) < 0)
		return;
	text_slots_rounded(&elf, host_pages(), &slots);
	if (with_rodata && slots.count > 0)
		text_slots_add_rodata(&elf, host_pages(), &slots);
	if (with_shared)
		share(path, &elf, &slots, out);
	out->text_bytes = slots.text_bytes;
	out->slot_bytes = slots.slot_bytes;
	if (!error_is_set(&out->reason))
		out->reason = slots.reason;
	warm_ranges(fd, slots.ranges, slots.count, observe, context, out);
}
