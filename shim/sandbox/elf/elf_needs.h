/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_needs.h - what an ELF file tells the loader: its interpreter, the libraries that it needs, where to look for
 * them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/elf/elf_reply.h"

#define ELF_NEEDED_MAX 512

struct elf_needs {
	char *interp; /* NULL: none, as all the others */
	char *soname;
	char *rpath;   /* DT_RPATH */
	char *runpath; /* DT_RUNPATH */
	char **needed; /* DT_NEEDED, in their order */
	unsigned needed_count;
	bool has_text_relocations; /* DT_TEXTREL: ld.so writes to its text */
	bool no_default_lib;       /* DF_1_NODEFLIB: neither ld.so.cache nor the default folders */
};

/*
 * Read them from the file open at FD, whose headers FACTS are known. The file may be anything; strings are cut off
 * where it ends. Returns 0 (elf_needs_free() it), or -1 if the tables make no sense, or there is no memory.
 */
int elf_read_needs(int fd, const struct elf_info *info, struct elf_needs *out);

void elf_needs_free(struct elf_needs *needs);
