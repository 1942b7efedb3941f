/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/exec_ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mm/smaps.h"
#include "remap/shared_store.h"

static const char deleted[] = " (deleted)", memfd[] = "/memfd:";

void code_objects_free(struct code_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++)
		free(objects->list[i].path);
	free(objects->list);
	*objects = (struct code_objects){0};
}

void exec_ranges_free(struct exec_ranges *ranges)
{
	free(ranges->list);
	*ranges = (struct exec_ranges){0};
}

/* A memfd or a hugetlb file: a copy of hugexec's, or a JIT compiler's. */
static bool is_memfd(const struct smaps_entry *entry)
{
	return strncmp(entry->path, memfd, sizeof memfd - 1) == 0 ||
	       strcmp(entry->path, "/anon_hugepage (deleted)") == 0;
}

/*
 * hugexec's copies lie where the text of a file was, right behind what is left of it or behind another copy: such an
 * ENTRY becomes a mapping of the file that BELOW is of, at the offset that it had.
 */
static void undo_copy(struct smaps_entry *entry, const struct smaps_entry *below)
{
	if (!(is_memfd(entry) || shared_has_path(entry->path)) || entry->perms[1] == 'w' ||
	    below->end != entry->start || below->inode == 0 || is_memfd(below) || below->perms[1] == 'w')
		return;
	entry->file_off = below->file_off + (below->end - below->start);
	entry->dev_major = below->dev_major;
	entry->dev_minor = below->dev_minor;
	entry->inode = below->inode;
	memcpy(entry->path, below->path, sizeof entry->path);
}

static bool is_jit(const struct smaps_entry *entry)
{
	return entry->inode == 0 || is_memfd(entry);
}

/* The name of what ENTRY maps, in a fresh string. */
static char *name_of(const struct smaps_entry *entry)
{
	size_t length = is_jit(entry) ? 0 : strlen(entry->path), end = sizeof deleted - 1;
	if (length >= end && strcmp(entry->path + length - end, deleted) == 0)
		length -= end;
	return strndup(entry->path, length);
}

/* The same file in several processes is one object, and all JIT memory is one. */
static int object_of(const struct smaps_entry *entry, struct code_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++) {
		const struct code_object *object = &objects->list[i];
		if (object->is_jit == is_jit(entry) &&
		    (object->is_jit || (object->inode == entry->inode && object->dev_major == entry->dev_major &&
		                        object->dev_minor == entry->dev_minor)))
			return (int)i;
	}
	if (objects->count == CODE_OBJECTS_MAX)
		return CODE_OBJECTS_MAX - 1;
	struct code_object *larger = realloc(objects->list, (objects->count + 1) * sizeof larger[0]);
	if (!larger)
		return -1;
	objects->list = larger;
	larger[objects->count] = (struct code_object){.path = name_of(entry),
	                                              .dev_major = entry->dev_major,
	                                              .dev_minor = entry->dev_minor,
	                                              .inode = entry->inode,
	                                              .is_jit = is_jit(entry)};
	return larger[objects->count].path ? (int)objects->count++ : -1;
}

static uint64_t huge_bytes_of(const struct smaps_entry *entry)
{
	return entry->file_pmd_bytes + entry->shmem_pmd_bytes + entry->anon_huge_bytes + entry->private_hugetlb_bytes +
	       entry->shared_hugetlb_bytes;
}

static int add(struct exec_ranges *ranges, const struct smaps_entry *entry, struct code_objects *objects)
{
	if (entry->perms[2] != 'x' || entry->path[0] == '[') /* [vdso], [vsyscall] */
		return 0;
	int object = object_of(entry, objects);
	struct exec_range *larger = object < 0 ? NULL : realloc(ranges->list, (ranges->count + 1) * sizeof larger[0]);
	if (!larger)
		return -1;
	ranges->list = larger;
	larger[ranges->count++] = (struct exec_range){.start = entry->start,
	                                              .end = entry->end,
	                                              .file_off = is_jit(entry) ? entry->start : entry->file_off,
	                                              .object = (unsigned)object,
	                                              .rss_bytes = entry->rss_bytes,
	                                              .huge_bytes = huge_bytes_of(entry)};
	return 0;
}

int exec_ranges_read(const char *maps, struct code_objects *objects, struct exec_ranges *out)
{
	/* Two entries take turns, the one below and the one at hand: too large for the stack. */
	cleanup_free struct smaps_entry *entries = calloc(2, sizeof entries[0]);
	struct smaps_cursor cursor = smaps_cursor(maps);
	int got = entries ? 1 : -1;
	*out = (struct exec_ranges){0};
	for (unsigned turn = 0; got == 1 && (got = smaps_next(&cursor, &entries[turn])) == 1; turn ^= 1) {
		undo_copy(&entries[turn], &entries[turn ^ 1]);
		if (add(out, &entries[turn], objects) < 0)
			got = -1;
	}
	if (got < 0)
		exec_ranges_free(out);
	return got;
}

const struct exec_range *exec_ranges_find(const struct exec_ranges *ranges, uint64_t ip)
{
	size_t from = 0, to = ranges->count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (ip < ranges->list[middle].start)
			to = middle;
		else if (ip >= ranges->list[middle].end)
			from = middle + 1;
		else
			return &ranges->list[middle];
	}
	return NULL;
}
