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

static int add_mapping(struct address_space *space, const struct smaps_entry *entry, size_t *paths_used)
{
	struct mapping *mapping = &space->mappings[space->count++];
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
	    .path = space->paths + *paths_used,
	};
	size_t path_bytes = strlen(entry->path) + 1;
	memcpy(space->paths + *paths_used, entry->path, path_bytes);
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

static void note_auxv(struct address_space *space, const uint64_t *auxv, size_t auxv_words)
{
	for (size_t i = 0; i + 1 < auxv_words && auxv[i] != AT_NULL; i += 2) {
		switch (auxv[i]) {
		case AT_ENTRY: space->entry_addr = auxv[i + 1]; break;
		case AT_PHDR: space->phdr_addr = auxv[i + 1]; break;
		case AT_PHNUM: space->phdr_count = auxv[i + 1]; break;
		case AT_BASE: space->interp_addr = auxv[i + 1]; break;
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

int address_space_parse(const char *maps, const uint64_t *auxv, size_t auxv_words, uint64_t page_bytes,
                        struct address_space *out, struct error *err)
{
	struct address_space space = {0};
	size_t lines = count_lines(maps);
	if (lines == 0 || lines > ADDRESS_SPACE_MAPPINGS_MAX)
		return error_set(err, REASON_IMAGE, "%zu mappings", lines);
	/* A path in the text is never shorter than the same path unescaped, with its NUL for the newline. */
	space.paths = malloc(strlen(maps) + lines + 1);
	space.mappings = calloc(lines, sizeof space.mappings[0]);
	if (!space.paths || !space.mappings) {
		address_space_free(&space);
		return error_set_errno(err, ENOMEM, REASON_IMAGE, "reading the mappings");
	}
	size_t paths_used = 0;
	uint64_t last_end = 0;
	struct smaps_cursor cursor = smaps_cursor(maps);
	struct smaps_entry entry;
	int got;
	while ((got = smaps_next(&cursor, &entry)) == 1) {
		skip_what_was_listed(&entry, last_end);
		if (space.count == lines || entry.start < last_end || entry.end <= entry.start ||
		    (entry.start | entry.end) % page_bytes) {
			got = -1;
			break;
		}
		last_end = entry.end;
		add_mapping(&space, &entry, &paths_used);
	}
	if (got < 0) {
		address_space_free(&space);
		return error_set(err, REASON_IMAGE, "the list of mappings makes no sense");
	}
	note_auxv(&space, auxv, auxv_words);
	if (!space.entry_addr) {
		address_space_free(&space);
		return error_set(err, REASON_IMAGE, "the auxiliary vector makes no sense");
	}
	ssize_t exe = address_space_find(&space, space.entry_addr);
	space.has_exe = exe >= 0 && space.mappings[exe].inode != 0;
	space.exe_index = exe >= 0 ? (size_t)exe : 0;
	*out = space;
	return 0;
}

int address_space_read(pid_t pid, struct address_space *out, struct error *err)
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
	return address_space_parse(maps, auxv, (size_t)got / sizeof auxv[0], host_pages()->base_bytes, out, err);
}

void address_space_free(struct address_space *space)
{
	free(space->mappings);
	free(space->paths);
	*space = (struct address_space){0};
}

ssize_t address_space_find(const struct address_space *space, uint64_t tracee_addr)
{
	size_t low = 0;
	size_t high = space->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tracee_addr < space->mappings[middle].start)
			high = middle;
		else if (tracee_addr >= space->mappings[middle].end)
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

uint64_t address_space_find_gap(const struct address_space *space, size_t top, uint64_t bytes, uint64_t align,
                                uint64_t phase)
{
	for (size_t i = top + 1; i > 0 && i <= space->count; i--) {
		const struct mapping *above = &space->mappings[i - 1];
		uint64_t below_end = i > 1 ? space->mappings[i - 2].end : LOWEST_ADDR;
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
