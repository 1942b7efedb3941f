/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/smaps.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_FIELDS_MAX                                                                          \
	256 /* bytes of a header line before its path: address range, perms, offset, device, inode \
	     */

struct smaps_cursor smaps_cursor(const char *text)
{
	return (struct smaps_cursor){text};
}

/* Read digits in BASE at *AT, which must be followed by TERMINATOR, and step behind that. */
static int read_number(const char **at, int base, char terminator, uint64_t *out)
{
	if (!isxdigit((unsigned char)**at))
		return -1;
	char *end;
	errno = 0;
	*out = strtoull(*at, &end, base);
	if (errno || *end != terminator)
		return -1;
	*at = end + 1;
	return 0;
}

/* The kernel escapes a newline in a path, and nothing else (fs/proc/task_mmu.c, seq_path() with "\n"). */
static int read_path(const char *from, const char *line_end, struct smaps_entry *out)
{
	size_t used = 0;
	while (from < line_end && used < sizeof out->path - 1) {
		if (line_end - from >= 4 && memcmp(from, "\\012", 4) == 0) {
			out->path[used++] = '\n';
			from += 4;
		} else {
			out->path[used++] = *from++;
		}
	}
	out->path[used] = '\0';
	return from < line_end ? -1 : 0;
}

static int read_perms(const char **at, struct smaps_entry *out)
{
	static const char *const allowed[] = {"r-", "w-", "x-", "ps", " "};
	for (size_t i = 0; i < 5; i++) {
		char perm = (*at)[i];
		if (!perm || !strchr(allowed[i], perm))
			return -1;
		if (i < 4)
			out->perms[i] = perm;
	}
	*at += 5;
	return 0;
}

static int read_header(const char *at, const char *line_end, struct smaps_entry *out)
{
	uint64_t dev_major, dev_minor;
	/* A line without a path may lack the space behind the inode; the copy always has it. */
	char fields[HEADER_FIELDS_MAX];
	snprintf(fields, sizeof fields, "%.*s ", (int)(line_end - at < 200 ? line_end - at : 200), at);
	const char *p = fields;
	if (read_number(&p, 16, '-', &out->start) < 0 || read_number(&p, 16, ' ', &out->end) < 0 ||
	    read_perms(&p, out) < 0 || read_number(&p, 16, ' ', &out->file_off) < 0 ||
	    read_number(&p, 16, ':', &dev_major) < 0 || read_number(&p, 16, ' ', &dev_minor) < 0 ||
	    read_number(&p, 10, ' ', &out->inode) < 0)
		return -1;
	out->dev_major = (unsigned)dev_major;
	out->dev_minor = (unsigned)dev_minor;
	const char *path = at + (p - fields);
	while (path < line_end && *path == ' ')
		path++;
	return path < line_end ? read_path(path, line_end, out) : 0;
}

/* "FilePmdMapped:      2048 kB" and its like; lines that are not wanted are passed over. */
static void read_count(const char *line, struct smaps_entry *out)
{
	static const struct {
		const char *name;
		size_t offset;
	} counts[] = {
	    {"Rss:", offsetof(struct smaps_entry, rss_bytes)},
	    {"Pss:", offsetof(struct smaps_entry, pss_bytes)},
	    {"Shared_Clean:", offsetof(struct smaps_entry, shared_clean_bytes)},
	    {"Shared_Dirty:", offsetof(struct smaps_entry, shared_dirty_bytes)},
	    {"Private_Dirty:", offsetof(struct smaps_entry, private_dirty_bytes)},
	    {"Anonymous:", offsetof(struct smaps_entry, anonymous_bytes)},
	    {"FilePmdMapped:", offsetof(struct smaps_entry, file_pmd_bytes)},
	    {"ShmemPmdMapped:", offsetof(struct smaps_entry, shmem_pmd_bytes)},
	    {"AnonHugePages:", offsetof(struct smaps_entry, anon_huge_bytes)},
	    {"Private_Hugetlb:", offsetof(struct smaps_entry, private_hugetlb_bytes)},
	    {"Shared_Hugetlb:", offsetof(struct smaps_entry, shared_hugetlb_bytes)},
	};
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		size_t len = strlen(counts[i].name);
		if (strncmp(line, counts[i].name, len) != 0)
			continue;
		unsigned long long kib = strtoull(line + len, NULL, 10);
		uint64_t bytes = kib > UINT64_MAX / 1024 ? UINT64_MAX : (uint64_t)kib * 1024;
		memcpy((char *)out + counts[i].offset, &bytes, sizeof bytes);
		return;
	}
}

/* "VmFlags: rd ex mr mw me sl ": words of two letters. */
static void read_flags(const char *line, const char *end, struct smaps_entry *out)
{
	static const char key[] = "VmFlags:";
	if (strncmp(line, key, sizeof key - 1) != 0)
		return;
	for (const char *word = line + sizeof key - 1; end - word >= 3 && *word == ' '; word += 3) {
		out->sealed |= strncmp(word, " sl", 3) == 0;
		out->guarded |= strncmp(word, " bt", 3) == 0;
	}
}

/* A count's line begins with a capital letter, a mapping's with its address in lower-case hexadecimal. */
static int is_count(const char *line)
{
	return *line >= 'A' && *line <= 'Z';
}

int smaps_next(struct smaps_cursor *cursor, struct smaps_entry *out)
{
	const char *line = cursor->at;
	if (*line == '\0')
		return 0;
	memset(out, 0, offsetof(struct smaps_entry, path) + 1);
	const char *end = strchrnul(line, '\n');
	if (read_header(line, end, out) < 0)
		return -1;
	line = *end ? end + 1 : end;
	while (is_count(line)) {
		read_count(line, out);
		end = strchrnul(line, '\n');
		read_flags(line, end, out);
		line = *end ? end + 1 : end;
	}
	cursor->at = line;
	return 1;
}
