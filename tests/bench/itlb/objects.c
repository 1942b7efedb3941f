/* SPDX-License-Identifier: Apache-2.0 */
#include "objects.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tlb.h"

#define X86_PROGRAM_BASE    0x555555554000UL
#define X86_LIBRARIES_TOP   0x7ffff7fff000UL
#define ARM64_PROGRAM_BASE  0xaaaaaaaaa000UL /* address space of 48 bits */
#define ARM64_LIBRARIES_TOP 0xfffff8000000UL
#define RELINKED_TOP        0x7e0000000000UL
#define PAGE                (1UL << SMALL_PAGE_SHIFT)
#define HEADERS_MAX         128

static uint64_t down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

static uint64_t up(uint64_t value, uint64_t align)
{
	return down(value + align - 1, align);
}

static bool read_at(int fd, void *buffer, uint64_t size, uint64_t offset)
{
	return pread(fd, buffer, size, (off_t)offset) == (ssize_t)size;
}

static bool read_header(int fd, Elf64_Ehdr *header)
{
	return read_at(fd, header, sizeof *header, 0) && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_phentsize == sizeof(Elf64_Phdr) &&
	       header->e_phnum <= HEADERS_MAX;
}

/* The section .text, or nothing where section headers are stripped. */
static void read_section(int fd, const Elf64_Ehdr *header, struct object *out)
{
	Elf64_Shdr names, section;
	char name[6];
	if (header->e_shentsize != sizeof section ||
	    !read_at(fd, &names, sizeof names, header->e_shoff + (uint64_t)header->e_shstrndx * sizeof names))
		return;
	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (!read_at(fd, &section, sizeof section, header->e_shoff + i * sizeof section) ||
		    !read_at(fd, name, sizeof name, names.sh_offset + section.sh_name) ||
		    memcmp(name, ".text", sizeof name) != 0)
			continue;
		out->section_off = section.sh_offset;
		out->section_bytes = section.sh_size;
		return;
	}
}

/* One executable segment, page by page. Those that Linux maps at another distance from their offset are not counted as
 * code. */
static void add_code(const Elf64_Phdr *segment, struct object *out)
{
	uint64_t start = down(segment->p_vaddr, PAGE), offset = down(segment->p_offset, PAGE);
	uint64_t bytes = up(segment->p_vaddr + segment->p_filesz, PAGE) - start;
	if (bytes > out->text_bytes) {
		bool same = start - offset == out->text_start - out->text_off;
		out->text_start = start;
		out->text_off = offset;
		out->text_bytes = bytes;
		if (!same)
			out->code_bytes = 0;
	}
	if (start - offset != out->text_start - out->text_off)
		return;
	if (out->code_bytes == 0)
		out->code_off = offset;
	out->code_bytes = offset + bytes - out->code_off;
}

static void add_segment(const Elf64_Phdr *segment, struct object *out)
{
	if (out->segment_count == OBJECT_SEGMENTS_MAX)
		return;
	uint64_t start = down(segment->p_vaddr, PAGE);
	out->segments[out->segment_count++] = (struct object_segment){
	    .off = down(segment->p_offset, PAGE),
	    .bytes = up(segment->p_vaddr + segment->p_filesz, PAGE) - start,
	    .start = start,
	    .end = up(segment->p_vaddr + segment->p_memsz, PAGE),
	    .writable = segment->p_flags & PF_W,
	    .executable = segment->p_flags & PF_X,
	};
}

/* Where the code is, and the span of all segments. They are in order of their addresses. */
static bool read_segments(int fd, const Elf64_Ehdr *header, struct object *out)
{
	Elf64_Phdr segments[HEADERS_MAX];
	if (!read_at(fd, segments, header->e_phnum * sizeof *segments, header->e_phoff))
		return false;
	uint64_t first = UINT64_MAX, end = 0;
	out->alignment = PAGE;
	for (unsigned i = 0; i < header->e_phnum; i++) {
		const Elf64_Phdr *segment = &segments[i];
		if (segment->p_type != PT_LOAD)
			continue;
		uint64_t start = down(segment->p_vaddr, PAGE);
		first = start < first ? start : first;
		end = segment->p_vaddr + segment->p_memsz > end ? segment->p_vaddr + segment->p_memsz : end;
		out->alignment = segment->p_align > out->alignment ? segment->p_align : out->alignment;
		if (segment->p_flags & PF_X)
			add_code(segment, out);
		add_segment(segment, out);
	}
	out->span = up(end, PAGE) - first;
	return out->text_bytes > 0;
}

bool object_read(const char *path, struct object *out)
{
	Elf64_Ehdr header;
	memset(out, 0, sizeof *out);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool good = read_header(fd, &header) && read_segments(fd, &header, out);
	if (good) {
		out->fixed = header.e_type == ET_EXEC;
		out->arm64 = header.e_machine == EM_AARCH64;
		out->file_bytes = (uint64_t)lseek(fd, 0, SEEK_END);
		out->aligned = out->file_bytes >= HUGE_PAGE && out->span >= HUGE_PAGE;
		read_section(fd, &header, out);
	}
	close(fd);
	return good;
}

void object_interpreter(const char *path, char *out, unsigned long size)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	out[0] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	for (unsigned i = 0; read_header(fd, &header) && i < header.e_phnum; i++) {
		if (!read_at(fd, &segment, sizeof segment, header.e_phoff + i * sizeof segment) ||
		    segment.p_type != PT_INTERP || segment.p_filesz >= size)
			continue;
		if (!read_at(fd, out, segment.p_filesz, segment.p_offset))
			segment.p_filesz = 0;
		out[segment.p_filesz] = '\0';
		break;
	}
	close(fd);
}

/* Where ld.so, or Linux for it, puts a library below what is mapped already. */
static uint64_t place_library(const struct object *object, uint64_t mapped)
{
	if (object->alignment == PAGE)
		return down(mapped - object->span, object->aligned ? HUGE_PAGE : PAGE);
	uint64_t least = object->span >= object->alignment ? object->span : object->alignment;
	return up(mapped - least - object->alignment, object->alignment);
}

void object_place(struct object *object)
{
	static uint64_t libraries, relinked = RELINKED_TOP;
	if (libraries == 0)
		libraries = object->arm64 ? ARM64_LIBRARIES_TOP : X86_LIBRARIES_TOP;
	relinked -= up(object->code_bytes, HUGE_PAGE);
	object->relinked = relinked;
	if (object->fixed)
		return;
	if (object->kind == OBJECT_PROGRAM) {
		object->text_start += down(object->arm64 ? ARM64_PROGRAM_BASE : X86_PROGRAM_BASE, object->alignment);
		return;
	}
	libraries = place_library(object, libraries);
	object->text_start += libraries;
}
