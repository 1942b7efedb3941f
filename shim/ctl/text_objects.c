/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/text_objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mm/smaps.h"
#include "remap/shared_store.h"

/* Of no file, and not one of the kernel's own, which have names: [vdso], [heap]. */
static bool is_anonymous(const struct smaps_entry *entry)
{
	return entry->inode == 0 && entry->path[0] == '\0';
}

/* A memfd or a hugetlb file, whatever its name: unlinked, so that the kernel says so; a copy that has no file at all;
 * or one that all processes share. */
static bool is_copy(const struct smaps_entry *entry)
{
	return is_anonymous(entry) || strncmp(entry->path, "/memfd:", 7) == 0 || shared_has_path(entry->path) ||
	       strcmp(entry->path, "/anon_hugepage (deleted)") == 0;
}

static struct text_object *find(struct text_objects *objects, const struct smaps_entry *entry)
{
	for (size_t i = 0; i < objects->count; i++) {
		struct text_object *object = &objects->list[i];
		if (object->inode == entry->inode && object->dev_major == entry->dev_major &&
		    object->dev_minor == entry->dev_minor)
			return object;
	}
	return NULL;
}

static struct text_object *add(struct text_objects *objects, const struct smaps_entry *entry)
{
	struct text_object *larger = realloc(objects->list, (objects->count + 1) * sizeof larger[0]);
	if (!larger)
		return NULL;
	objects->list = larger;
	larger[objects->count] = (struct text_object){
	    .path = strdup(entry->path),
	    .dev_major = entry->dev_major,
	    .dev_minor = entry->dev_minor,
	    .inode = entry->inode,
	    .backing = BACKING_NONE,
	};
	return larger[objects->count].path ? &larger[objects->count++] : NULL;
}

static void count_mapping(struct text_object *object, const struct smaps_entry *entry)
{
	uint64_t hugetlb_bytes = entry->private_hugetlb_bytes + entry->shared_hugetlb_bytes;
	uint64_t thp_bytes = entry->shmem_pmd_bytes + entry->anon_huge_bytes;
	object->text_bytes += entry->end - entry->start;
	object->huge_bytes += hugetlb_bytes + thp_bytes + entry->file_pmd_bytes;
	if (hugetlb_bytes)
		object->backing = BACKING_HUGETLB;
	else if (thp_bytes)
		object->backing = BACKING_THP;
	else if (entry->file_pmd_bytes)
		object->backing = BACKING_FILE;
}

static bool is_file(const struct smaps_entry *entry)
{
	return entry->inode != 0 && !is_copy(entry);
}

static bool is_same_file(const struct smaps_entry *a, const struct smaps_entry *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

/* The object that the copy between BELOW and ABOVE stands for (either may be NULL): the file that it touches. */
static const struct smaps_entry *owner_of_copy(const struct smaps_entry *copy, const struct smaps_entry *below,
                                               const struct smaps_entry *above)
{
	bool after_below = below && below->end == copy->start && is_file(below);
	bool before_above = above && above->start == copy->end && is_file(above);
	bool is_inside = after_below && before_above && is_same_file(below, above);
	/* Code that a program makes while it runs may lie beside any file: a locale's, a font's. */
	if (is_anonymous(copy) && !is_inside) {
		after_below &= below && below->perms[2] == 'x';
		before_above &= above && above->perms[2] == 'x';
	}
	/* Data ends a file's mappings: what comes right behind it belongs to the next file. */
	if (after_below && !(before_above && below->perms[1] == 'w'))
		return below;
	return before_above ? above : copy;
}

/* One mapping may be followed by several copies: BELOW stays the last mapping of a file as long as there is no hole. */
static int add_mapping(struct text_objects *objects, const struct smaps_entry *entry, const struct smaps_entry *below,
                       const struct smaps_entry *above)
{
	if (entry->perms[2] != 'x' || entry->perms[1] == 'w')
		return 0;
	const struct smaps_entry *owner = is_copy(entry) ? owner_of_copy(entry, below, above) : entry;
	if (owner->inode == 0 && strcmp(owner->path, "") != 0) /* [vdso] and its like */
		return 0;
	struct text_object *object = find(objects, owner);
	if (!object)
		object = add(objects, owner);
	if (!object)
		return -1;
	count_mapping(object, entry);
	return 0;
}

int text_objects_read(const char *smaps, struct text_objects *out)
{
	/* Three entries take turns: the one before, the one at hand, the one behind. Too large for the stack. */
	cleanup_free struct smaps_entry *entries = calloc(3, sizeof *entries);
	struct smaps_entry *below = NULL, *here = entries, *next = entries ? entries + 1 : NULL;
	struct smaps_cursor cursor = smaps_cursor(smaps);
	*out = (struct text_objects){0};
	int got = entries ? smaps_next(&cursor, here) : -1;
	while (got == 1) {
		int more = smaps_next(&cursor, next);
		if (more < 0 || add_mapping(out, here, below, more ? next : NULL) < 0) {
			got = -1;
			break;
		}
		/* A copy right behind its object's mapping keeps that in view for the copy behind it. */
		if (below && is_copy(here) && below->end == here->start) {
			below->end = here->end;
			struct smaps_entry *spare = here;
			here = next;
			next = spare;
		} else {
			struct smaps_entry *spare = below ? below : entries + 2;
			below = here;
			here = next;
			next = spare;
		}
		got = more;
	}
	if (got < 0)
		text_objects_free(out);
	return got < 0 ? -1 : 0;
}

const char *text_object_name(const struct text_object *object, char *buf, size_t buf_bytes)
{
	static const char memfd[] = "/memfd:", deleted[] = " (deleted)";
	const char *name = object->path;
	size_t len = strlen(name);
	if (len >= sizeof deleted - 1 && strcmp(name + len - (sizeof deleted - 1), deleted) == 0)
		len -= sizeof deleted - 1;
	if (len >= sizeof memfd - 1 && strncmp(name, memfd, sizeof memfd - 1) == 0) {
		name += sizeof memfd - 1;
		len -= sizeof memfd - 1;
	}
	snprintf(buf, buf_bytes, "%.*s", (int)len, name);
	return buf;
}

void text_objects_free(struct text_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++)
		free(objects->list[i].path);
	free(objects->list);
	*objects = (struct text_objects){0};
}

bool text_object_is_shared(const struct text_object *object)
{
	return object->backing == BACKING_FILE;
}
