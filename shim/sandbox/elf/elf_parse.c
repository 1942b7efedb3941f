/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/elf_parse.h"

#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "base/size.h"

#define NOTES_BYTES_MAX (64 * KIB)

/*
 * As strict as the kernel, which runs no program with PN_XNUM or another e_phentsize (fs/binfmt_elf.c); libelf shortens
 * a table that reaches beyond the file without a word, so its count is compared.
 */
static int read_segments(Elf *elf, const GElf_Ehdr *ehdr, struct elf_info *info)
{
	size_t count;
	if (elf_getphdrnum(elf, &count) < 0 || count != ehdr->e_phnum || ehdr->e_phnum == PN_XNUM)
		return -1;
	if (ehdr->e_phentsize != gelf_fsize(elf, ELF_T_PHDR, 1, EV_CURRENT))
		return -1;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr phdr;
		if (!gelf_getphdr(elf, (int)i, &phdr))
			return -1;
		if (phdr.p_type == PT_INTERP)
			info->has_interp = 1;
		if (phdr.p_type == PT_GNU_RELRO) {
			info->relro_vaddr = phdr.p_vaddr;
			info->relro_bytes = phdr.p_memsz;
		}
		if (phdr.p_type != PT_LOAD)
			continue;
		if (info->segment_count == ELF_SEGMENTS_MAX)
			return -1;
		info->segments[info->segment_count++] = (struct elf_segment){
		    .vaddr = phdr.p_vaddr,
		    .file_off = phdr.p_offset,
		    .file_bytes = phdr.p_filesz,
		    .mem_bytes = phdr.p_memsz,
		    .align = phdr.p_align,
		    .flags = phdr.p_flags,
		};
	}
	return 0;
}

/* The build id among the notes of one segment. *LEFT_BYTES is how much may be read of all of them. */
static void read_notes(Elf *elf, const GElf_Phdr *phdr, size_t *left_bytes, struct elf_info *info)
{
	size_t bytes = phdr->p_filesz < *left_bytes ? phdr->p_filesz : *left_bytes;
	*left_bytes -= bytes;
	Elf_Data *data =
	    elf_getdata_rawchunk(elf, (int64_t)phdr->p_offset, bytes, phdr->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
	GElf_Nhdr note;
	size_t name_at, desc_at;
	for (size_t at = 0; data && (at = gelf_getnote(data, at, &note, &name_at, &desc_at)) > 0;) {
		bool is_build_id = note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof "GNU" &&
		                   memcmp((char *)data->d_buf + name_at, "GNU", sizeof "GNU") == 0;
		if (!is_build_id || note.n_descsz == 0 || note.n_descsz > ELF_BUILD_ID_MAX)
			continue;
		info->build_id_bytes = (uint8_t)note.n_descsz;
		memcpy(info->build_id, (char *)data->d_buf + desc_at, note.n_descsz);
		return;
	}
}

static void read_build_id(Elf *elf, struct elf_info *info)
{
	size_t count = 0, left_bytes = NOTES_BYTES_MAX;
	GElf_Phdr phdr;
	elf_getphdrnum(elf, &count);
	for (size_t i = 0; i < count && !info->build_id_bytes && left_bytes > 0; i++) {
		if (gelf_getphdr(elf, (int)i, &phdr) && phdr.p_type == PT_NOTE)
			read_notes(elf, &phdr, &left_bytes, info);
	}
}

static enum elf_answer_status read_headers(Elf *elf, struct elf_info *info)
{
	GElf_Ehdr ehdr;
	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &ehdr))
		return ELF_ANSWER_NOT_ELF;
	info->elf_class = ehdr.e_ident[EI_CLASS];
	info->type = ehdr.e_type;
	info->machine = ehdr.e_machine;
	if (read_segments(elf, &ehdr, info) < 0)
		return ELF_ANSWER_ABSURD;
	read_build_id(elf, info);
	return ELF_ANSWER_OK;
}

/*
 * ELF_C_READ: libelf preads what it is asked for and maps nothing, so a file that shrinks meanwhile is a short read,
 * not a SIGBUS, and one of a terabyte costs no more than its headers. It asks for the ELF header, the first section
 * header (if e_phnum is PN_XNUM), the table of program headers and the notes; table sizes are the file's word, but a
 * table must lie inside the file and in memory that RLIMIT_AS allows, and all
 * PT_NOTE together are read up to NOTES_BYTES_MAX.
 */
enum elf_answer_status elf_parse(int fd, struct elf_info *info)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ELF_ANSWER_NOT_ELF;
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	enum elf_answer_status status = read_headers(elf, info);
	elf_end(elf);
	return status;
}
