/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/pt_load.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "arch/arch.h"
#include "host/pages.h"

/* The kernel takes no larger table (fs/binfmt_elf.c, load_elf_phdrs()). */
#define HEADERS_MAX (65536 / sizeof(Elf64_Phdr))

static int add(struct segments *segments, const Elf64_Phdr *phdr, uint64_t bias, uint64_t page_bytes)
{
	uint64_t start = bias + phdr->p_vaddr;
	uint64_t end = start + phdr->p_memsz;
	if (segments->count == SEGMENTS_MAX || end < start || end > UINT64_MAX - page_bytes)
		return -1;
	/* As the kernel does (fs/binfmt_elf.c, maximum_alignment(), since Linux 5.10). */
	if (phdr->p_align > segments->align && (phdr->p_align & (phdr->p_align - 1)) == 0)
		segments->align = phdr->p_align;
	segments->list[segments->count].start = page_down(start, page_bytes);
	segments->list[segments->count++].end = page_up(end, page_bytes);
	return 0;
}

int segments_read(int exe_fd, uint64_t entry_addr, uint64_t page_bytes, struct segments *out, struct error *err)
{
	Elf64_Ehdr ehdr;
	*out = (struct segments){.align = page_bytes};
	if (pread(exe_fd, &ehdr, sizeof ehdr, 0) != sizeof ehdr || memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0 ||
	    ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_ident[EI_DATA] != ARCH_ELF_DATA)
		return error_set(err, REASON_REBASE_REFUSED, "its ELF header cannot be read");
	if (ehdr.e_type != ET_DYN)
		return error_set(
		    err, REASON_FILE_MISALIGNED,
		    "offset and address of its text differ modulo a huge page, and it is not position-independent");
	for (unsigned i = 0; i < ehdr.e_phnum; i++) {
		Elf64_Phdr phdr;
		off_t off = (off_t)(ehdr.e_phoff + i * sizeof phdr);
		bool is_read = i < HEADERS_MAX && off >= 0 && pread(exe_fd, &phdr, sizeof phdr, off) == sizeof phdr;
		if (!is_read || (phdr.p_type == PT_LOAD && phdr.p_memsz > 0 &&
		                 add(out, &phdr, entry_addr - ehdr.e_entry, page_bytes) < 0))
			return error_set(err, REASON_REBASE_REFUSED,
			                 "its program headers are more than hugexec handles");
	}
	return 0;
}

enum segments_hold segments_hold(const struct segments *segments, const struct mapping *mapping)
{
	uint64_t held_to = mapping->start; /* from the start on without a hole */
	bool touches = false;
	for (unsigned i = 0; i < segments->count; i++) {
		uint64_t start = segments->list[i].start, end = segments->list[i].end;
		touches |= start < mapping->end && end > mapping->start;
		if (start <= held_to && end > held_to) {
			held_to = end;
			i = UINT32_MAX; /* they may be in any order: from the first one again */
		}
	}
	if (held_to >= mapping->end)
		return SEGMENTS_ALL;
	return touches ? SEGMENTS_PART : SEGMENTS_NOTHING;
}
