/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_info.h - what an ELF file's headers and symbols say, as flat structs.
 */
#pragma once

#include <stdint.h>

#define ELF_SEGMENTS_MAX 64
#define ELF_BUILD_ID_MAX 64

/* A PT_LOAD program header. */
struct elf_segment {
	uint64_t vaddr, file_off, file_bytes, mem_bytes, align;
	uint32_t flags; /* PF_R, PF_W, PF_X */
};

struct elf_info {
	uint8_t elf_class;  /* ELFCLASS32, ELFCLASS64 */
	uint16_t type;      /* ET_EXEC, ET_DYN */
	uint16_t machine;   /* EM_X86_64 ... */
	uint8_t has_interp; /* dynamically linked */
	uint8_t build_id_bytes;
	uint8_t build_id[ELF_BUILD_ID_MAX];
	uint64_t relro_vaddr, relro_bytes; /* what ld.so makes read-only (PT_GNU_RELRO); 0 bytes: none */
	uint16_t segment_count;
	struct elf_segment segments[ELF_SEGMENTS_MAX];
};

#define ELF_SYMBOL_NAME_MAX 240
#define ELF_SYMBOLS_MAX     (UINT32_C(1) << 19)

/* A function. */
struct elf_symbol {
	uint64_t file_off, bytes;
	char name[ELF_SYMBOL_NAME_MAX]; /* as in the file (C++ and Rust: mangled), cut if it is longer */
};
