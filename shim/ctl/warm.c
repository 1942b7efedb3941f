#include "ctl/warm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/size.h"

#define SLOT            PAGE_CACHE_SLOT_BYTES
#define READ_TIMEOUT_MS 5000
#define STEP_BYTES      (64 * MIB)
#define STEP_TIMEOUT_MS 60000 /* a disk of 2 MiB/s is in time; nobody waits for us but the boot */

/* The whole slots inside SEGMENT into *RANGE; false where there is none. */
static bool slots_inside(const struct elf_segment *segment, struct file_range *range)
{
	uint64_t end;
	if (segment->file_off > UINT64_MAX - SLOT ||
	    __builtin_add_overflow(segment->file_off, segment->file_bytes, &end))
		return false;
	uint64_t first = (segment->file_off + SLOT - 1) / SLOT * SLOT;
	uint64_t last = end / SLOT * SLOT;
	if (last <= first)
		return false;
	*range = (struct file_range){first, last - first};
	return true;
}

unsigned warm_ranges(const struct elf_facts *elf, struct file_range ranges[WARM_RANGES_MAX], struct warmed *out)
{
	unsigned count = 0;
	bool misaligned = false;
	*out = (struct warmed){0};
	for (unsigned i = 0; i < elf->segment_count && i < ELF_SEGMENTS_MAX; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if ((segment->flags & (PF_X | PF_W)) != PF_X)
			continue;
		out->text_bytes += segment->file_bytes;
		if (!slots_inside(segment, &ranges[count]))
			continue;
		if (elf->type != ET_DYN && (segment->vaddr - segment->file_off) % SLOT) {
			misaligned = true;
			continue;
		}
		out->slot_bytes += ranges[count++].bytes;
	}
	if (misaligned)
		error_set(&out->reason, "file-misaligned",
		          "it has a fixed address that differs from the offset of its text modulo 2 MiB");
	else if (out->text_bytes == 0)
		error_set(&out->reason, "no-text", "it has no executable segment");
	else if (count == 0)
		error_set(&out->reason, "no-huge-slot", "no whole slot of 2 MiB lies inside its text");
	return count;
}

/* In steps, so that progress can be told. What the filesystem cannot do for one it cannot do for the others. */
static void warm_ranges_of(int fd, const struct file_range *ranges, unsigned count, warm_observer *observe,
                           void *context, struct warmed *out)
{
	uint64_t done_bytes = 0;
	for (unsigned i = 0; i < count; i++) {
		for (uint64_t at = 0; at < ranges[i].bytes; at += STEP_BYTES) {
			uint64_t left = ranges[i].bytes - at, huge_bytes = 0;
			struct file_range step = {ranges[i].file_off + at, left < STEP_BYTES ? left : STEP_BYTES};
			struct error err = {0};
			page_cache_make_huge(fd, &step, 1, STEP_TIMEOUT_MS, &huge_bytes, &err);
			out->huge_bytes += huge_bytes;
			done_bytes += step.bytes;
			if (error_is_set(&err) && !error_is_set(&out->reason))
				out->reason = err;
			if (strcmp(err.word, "file-unsupported") == 0 || strcmp(err.word, "file-timeout") == 0)
				return;
			if (observe)
				observe(context, done_bytes, out->slot_bytes);
		}
	}
}

void warm_file(const char *path, warm_observer *observe, void *context, struct warmed *out)
{
	struct stat st;
	struct reader reader;
	struct elf_facts elf;
	struct file_range ranges[WARM_RANGES_MAX];
	*out = (struct warmed){0};
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		out->missing = errno == ENOENT || errno == ENOTDIR;
		error_set_errno(&out->reason, errno, "text-unreadable", "opening it");
		return;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(&out->reason, "text-unreadable", "it is not a plain file");
		return;
	}
	if (elf_reader_start(&reader, fd, &out->reason) < 0 ||
	    elf_reader_finish(&reader, READ_TIMEOUT_MS, &elf, &out->reason) < 0)
		return;
	unsigned count = warm_ranges(&elf, ranges, out);
	warm_ranges_of(fd, ranges, count, observe, context, out);
}
