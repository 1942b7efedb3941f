/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/maps.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/smaps.h"

#define MAPS_LIMIT_BYTES (64 * MIB)
#define AUXV_WORDS_MAX   256

#define LOWEST_ADDR 0x100000 /* above what vm.mmap_min_addr forbids */

/* Room to leave below a stack, so that what is put there for a moment never stops it from growing. */
#define STACK_ROOM_BYTES (1 * GIB)

static int add_mapping(struct image *image, const struct smaps_entry *entry, size_t *paths_used)
{
	struct mapping *mapping = &image->mappings[image->count++];
	*mapping = (struct mapping){
	    .start = entry->start,
	    .end = entry->end,
	    .file_off = entry->file_off,
	    .prot = (entry->perms[0] == 'r' ? PROT_READ : 0) | (entry->perms[1] == 'w' ? PROT_WRITE : 0) |
	            (entry->perms[2] == 'x' ? PROT_EXEC : 0),
	    .shared = entry->perms[3] == 's',
	    .dev_major = entry->dev_major,
	    .dev_minor = entry->dev_minor,
	    .inode = entry->inode,
	    .path = image->paths + *paths_used,
	};
	size_t path_bytes = strlen(entry->path) + 1;
	memcpy(image->paths + *paths_used, entry->path, path_bytes);
	*paths_used += path_bytes;
	return 0;
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	return lines;
}

static void note_auxv(struct image *image, const uint64_t *auxv, size_t auxv_words)
{
	for (size_t i = 0; i + 1 < auxv_words && auxv[i] != AT_NULL; i += 2) {
		switch (auxv[i]) {
		case AT_ENTRY: image->entry_addr = auxv[i + 1]; break;
		case AT_PHDR: image->phdr_addr = auxv[i + 1]; break;
		case AT_PHNUM: image->phdr_count = auxv[i + 1]; break;
		case AT_BASE: image->interp_addr = auxv[i + 1]; break;
		default: break;
		}
	}
}

/*
 * A list that is longer than a page takes several reads, and a process that runs, ourselves included, may change its
 * mappings between two of them. The kernel goes on at the address where it has left off: a mapping that has grown
 * across it is told once more, whole (Linux 6.18).
 */
static void skip_what_was_listed(struct smaps_entry *entry, uint64_t last_end)
{
	if (entry->start >= last_end || entry->end <= last_end)
		return;
	entry->file_off += entry->inode ? last_end - entry->start : 0;
	entry->start = last_end;
}

int image_parse(const char *maps, const uint64_t *auxv, size_t auxv_words, uint64_t page_bytes, struct image *out,
                struct error *err)
{
	struct image image = {0};
	size_t lines = count_lines(maps);
	if (lines == 0 || lines > IMAGE_MAPPINGS_MAX)
		return error_set(err, REASON_IMAGE, "%zu mappings", lines);
	/* A path in the text is never shorter than the same path unescaped, with its NUL for the newline. */
	image.paths = malloc(strlen(maps) + lines + 1);
	image.mappings = calloc(lines, sizeof image.mappings[0]);
	if (!image.paths || !image.mappings) {
		image_free(&image);
		return error_set_errno(err, ENOMEM, REASON_IMAGE, "reading the mappings");
	}
	size_t paths_used = 0;
	uint64_t last_end = 0;
	struct smaps_cursor cursor = smaps_cursor(maps);
	struct smaps_entry entry;
	int got;
	while ((got = smaps_next(&cursor, &entry)) == 1) {
		skip_what_was_listed(&entry, last_end);
		if (image.count == lines || entry.start < last_end || entry.end <= entry.start ||
		    (entry.start | entry.end) % page_bytes) {
			got = -1;
			break;
		}
		last_end = entry.end;
		add_mapping(&image, &entry, &paths_used);
	}
	if (got < 0) {
		image_free(&image);
		return error_set(err, REASON_IMAGE, "the list of mappings makes no sense");
	}
	note_auxv(&image, auxv, auxv_words);
	if (!image.entry_addr) {
		image_free(&image);
		return error_set(err, REASON_IMAGE, "the auxiliary vector makes no sense");
	}
	ssize_t exe = image_find(&image, image.entry_addr);
	image.has_exe = exe >= 0 && image.mappings[exe].inode != 0;
	image.exe_index = exe >= 0 ? (size_t)exe : 0;
	*out = image;
	return 0;
}

int image_read(pid_t pid, struct image *out, struct error *err)
{
	char path[64];
	cleanup_free char *maps = NULL;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	if (read_file_at(AT_FDCWD, path, MAPS_LIMIT_BYTES, &maps, NULL) < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
	snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t auxv[AUXV_WORDS_MAX];
	ssize_t got = fd < 0 ? -1 : read(fd, auxv, sizeof auxv);
	if (got < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
	return image_parse(maps, auxv, (size_t)got / sizeof auxv[0], host_pages()->base_bytes, out, err);
}

void image_free(struct image *image)
{
	free(image->mappings);
	free(image->paths);
	*image = (struct image){0};
}

ssize_t image_find(const struct image *image, uint64_t tracee_addr)
{
	size_t low = 0;
	size_t high = image->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tracee_addr < image->mappings[middle].start)
			high = middle;
		else if (tracee_addr >= image->mappings[middle].end)
			low = middle + 1;
		else
			return (ssize_t)middle;
	}
	return -1;
}

bool mapping_is_text(const struct mapping *mapping)
{
	return mapping->prot == (PROT_READ | PROT_EXEC) && !mapping->shared && mapping->inode != 0;
}

bool mapping_same_file(const struct mapping *a, const struct mapping *b)
{
	return a->inode != 0 && a->inode == b->inode && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

/* Address space that must stay free below a mapping. */
static uint64_t room_below(const struct mapping *mapping)
{
	return strcmp(mapping->path, "[stack]") == 0 ? STACK_ROOM_BYTES : 0;
}

uint64_t image_find_gap(const struct image *image, size_t top, uint64_t bytes, uint64_t align, uint64_t phase)
{
	for (size_t i = top + 1; i > 0 && i <= image->count; i--) {
		const struct mapping *above = &image->mappings[i - 1];
		uint64_t below_end = i > 1 ? image->mappings[i - 2].end : LOWEST_ADDR;
		uint64_t room = room_below(above);
		if (above->start < below_end)
			continue;
		if (above->start > ARCH_USER_TOP) /* [vsyscall] */
			continue;
		if (above->start - below_end < bytes || above->start - below_end - bytes < room)
			continue;
		uint64_t highest = above->start - room - bytes;
		if (highest < phase)
			continue;
		uint64_t start = ((highest - phase) & ~(align - 1)) + phase;
		if (start > below_end)
			return start;
	}
	return 0;
}
