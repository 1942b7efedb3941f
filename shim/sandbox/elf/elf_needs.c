/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/elf_needs.h"

#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"

#define DYNAMIC_BYTES_MAX (64 * KIB)
#define STRING_BYTES_MAX  PATH_MAX /* of a path; glibc has no limit */
#define PATHS_BYTES_MAX   (16 * KIB)

/* The string at FILE_OFF, LIMIT bytes at most, in fresh memory; NULL if there is none, or it is longer. */
static char *read_string(int fd, uint64_t file_off, size_t limit)
{
	char *text = file_off > INT64_MAX - limit ? NULL : malloc(limit);
	ssize_t got = text ? pread(fd, text, limit, (off_t)file_off) : -1;
	size_t length = got > 0 ? strnlen(text, (size_t)got) : 0;
	if (got <= 0 || length == (size_t)got) {
		free(text);
		return NULL;
	}
	char *shorter = realloc(text, length + 1);
	return shorter ? shorter : text;
}

/* Where in the file VADDR is; false if it is not. */
static bool to_file_off(const struct elf_info *info, uint64_t vaddr, uint64_t *file_off)
{
	for (unsigned i = 0; i < info->segment_count; i++) {
		const struct elf_segment *segment = &info->segments[i];
		if (vaddr < segment->vaddr || vaddr - segment->vaddr >= segment->file_bytes)
			continue;
		*file_off = segment->file_off + (vaddr - segment->vaddr);
		return true;
	}
	return false;
}

static int add_needed(struct elf_needs *out, char *name)
{
	if (!name || out->needed_count == ELF_NEEDED_MAX) {
		free(name);
		return -1;
	}
	out->needed[out->needed_count++] = name;
	return 0;
}

static void take_string(char **place, char *text)
{
	free(*place);
	*place = text;
}

/* The entries of the dynamic section that are strings; STRINGS_OFF: their table, in the file. */
static int read_strings(int fd, Elf_Data *dynamic, uint64_t strings_off, struct elf_needs *out)
{
	GElf_Dyn entry;
	for (int i = 0; gelf_getdyn(dynamic, i, &entry) && entry.d_tag != DT_NULL; i++) {
		uint64_t at = strings_off + entry.d_un.d_val;
		if (entry.d_tag == DT_TEXTREL || (entry.d_tag == DT_FLAGS && (entry.d_un.d_val & DF_TEXTREL)))
			out->has_text_relocations = true;
		else if (entry.d_tag == DT_FLAGS_1)
			out->no_default_lib = entry.d_un.d_val & DF_1_NODEFLIB;
		else if (entry.d_tag == DT_SONAME)
			take_string(&out->soname, read_string(fd, at, STRING_BYTES_MAX));
		else if (entry.d_tag == DT_RPATH)
			take_string(&out->rpath, read_string(fd, at, PATHS_BYTES_MAX));
		else if (entry.d_tag == DT_RUNPATH)
			take_string(&out->runpath, read_string(fd, at, PATHS_BYTES_MAX));
		else if (entry.d_tag == DT_NEEDED && add_needed(out, read_string(fd, at, STRING_BYTES_MAX)) < 0)
			return -1;
	}
	return 0;
}

static int read_dynamic(int fd, Elf *elf, const GElf_Phdr *phdr, const struct elf_info *info, struct elf_needs *out)
{
	size_t bytes = phdr->p_filesz < DYNAMIC_BYTES_MAX ? phdr->p_filesz : DYNAMIC_BYTES_MAX;
	Elf_Data *dynamic = elf_getdata_rawchunk(elf, (int64_t)phdr->p_offset, bytes, ELF_T_DYN);
	GElf_Dyn entry;
	for (int i = 0; dynamic && gelf_getdyn(dynamic, i, &entry) && entry.d_tag != DT_NULL; i++) {
		uint64_t strings_off;
		if (entry.d_tag == DT_STRTAB && to_file_off(info, entry.d_un.d_ptr, &strings_off))
			return read_strings(fd, dynamic, strings_off, out);
	}
	return -1;
}

static int read_segments(int fd, Elf *elf, const struct elf_info *info, struct elf_needs *out)
{
	size_t count = 0;
	GElf_Phdr phdr;
	int result = 0;
	elf_getphdrnum(elf, &count);
	for (size_t i = 0; i < count && result == 0 && gelf_getphdr(elf, (int)i, &phdr); i++) {
		if (phdr.p_type == PT_INTERP)
			take_string(&out->interp, read_string(fd, phdr.p_offset, STRING_BYTES_MAX));
		else if (phdr.p_type == PT_DYNAMIC && out->needed_count == 0)
			result = read_dynamic(fd, elf, &phdr, info, out);
	}
	return result;
}

int elf_read_needs(int fd, const struct elf_info *info, struct elf_needs *out)
{
	*out = (struct elf_needs){.needed = calloc(ELF_NEEDED_MAX, sizeof out->needed[0])};
	if (!out->needed)
		return -1;
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	int result = elf ? read_segments(fd, elf, info, out) : -1;
	elf_end(elf);
	if (result < 0)
		elf_needs_free(out);
	return result;
}

void elf_needs_free(struct elf_needs *needs)
{
	for (unsigned i = 0; i < needs->needed_count; i++)
		free(needs->needed[i]);
	free(needs->needed);
	free(needs->interp);
	free(needs->soname);
	free(needs->rpath);
	free(needs->runpath);
	*needs = (struct elf_needs){.needed = NULL};
}
