/* SPDX-License-Identifier: Apache-2.0 */
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "sandbox/elf/elf_parse.h"

#define BATCH 128

/* What is told next. */
struct batch {
	int fd;
	unsigned count;
	struct elf_symbol symbols[BATCH];
};

static int flush(struct batch *batch)
{
	int result = write_all(batch->fd, batch->symbols, batch->count * sizeof batch->symbols[0]);
	batch->count = 0;
	memset(batch->symbols, 0, sizeof batch->symbols);
	return result;
}

/* Where in the file the code at VADDR is; false if it is not in the file's text. */
static bool to_file_off(const struct elf_info *info, uint64_t vaddr, uint64_t *file_off)
{
	for (unsigned i = 0; i < info->segment_count; i++) {
		const struct elf_segment *segment = &info->segments[i];
		if (!(segment->flags & PF_X) || vaddr < segment->vaddr || vaddr - segment->vaddr >= segment->file_bytes)
			continue;
		*file_off = segment->file_off + (vaddr - segment->vaddr);
		return true;
	}
	return false;
}

/* The first section of TYPE, or NULL. */
static Elf_Scn *find_section(Elf *elf, uint32_t type, GElf_Shdr *shdr)
{
	Elf_Scn *section = NULL;
	while ((section = elf_nextscn(elf, section))) {
		if (gelf_getshdr(section, shdr) && shdr->sh_type == type)
			return section;
	}
	return NULL;
}

static int add(struct batch *batch, uint64_t file_off, uint64_t bytes, const char *name)
{
	struct elf_symbol *symbol = &batch->symbols[batch->count++];
	symbol->file_off = file_off;
	symbol->bytes = bytes;
	snprintf(symbol->name, sizeof symbol->name, "%s", name);
	return batch->count == BATCH ? flush(batch) : 0;
}

static int tell(Elf *elf, const struct elf_info *info, struct batch *batch)
{
	GElf_Shdr shdr;
	Elf_Scn *section = find_section(elf, SHT_SYMTAB, &shdr);
	if (!section)
		section = find_section(elf, SHT_DYNSYM, &shdr);
	if (!section)
		return 0;
	/* Both tables are read whole, into memory that RLIMIT_AS bounds. */
	Elf_Data *data = elf_getdata(section, NULL);
	if (!data)
		return -1;
	GElf_Sym symbol;
	uint32_t told = 0;
	for (int i = 0; told < ELF_SYMBOLS_MAX && gelf_getsym(data, i, &symbol); i++) {
		uint64_t file_off;
		int type = GELF_ST_TYPE(symbol.st_info);
		if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF || symbol.st_size == 0)
			continue;
		const char *name = elf_strptr(elf, shdr.sh_link, symbol.st_name);
		if (!name || !*name || !to_file_off(info, symbol.st_value, &file_off))
			continue;
		if (add(batch, file_off, symbol.st_size, name) < 0)
			return -1;
		told++;
	}
	return 0;
}

int elf_parse_symbols(int fd, int answer_fd)
{
	static struct batch batch;
	static struct elf_info info;
	info = (struct elf_info){0};
	batch = (struct batch){.fd = answer_fd};
	if (elf_parse(fd, &info) != ELF_ANSWER_OK)
		return -1;
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	int result = elf ? tell(elf, &info, &batch) : -1;
	elf_end(elf);
	if (result < 0)
		return -1;
	batch.count++; /* of zeros: the end */
	return flush(&batch);
}
