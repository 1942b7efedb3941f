/*
 * elf_client.h - read an ELF file's headers without trusting it.
 *
 * The file may be anybody's, the caller may be root. So the parsing (libelf) is done by `hugexec-elf-reader`, a process
 * of its own that gets the open file and a pipe, locks itself up (sandbox/sandbox_enter.h), and answers with one flat struct
 * elf_facts, which is checked field by field before anyone sees it.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "sandbox/sandbox_spawn.h"

#define ELF_SEGMENTS_MAX 64
#define ELF_BUILD_ID_MAX 64

/* A PT_LOAD program header. */
struct elf_segment {
	uint64_t vaddr, file_off, file_bytes, mem_bytes, align;
	uint32_t flags; /* PF_R, PF_W, PF_X */
};

struct elf_facts {
	uint8_t elf_class;  /* ELFCLASS32, ELFCLASS64 */
	uint16_t type;      /* ET_EXEC, ET_DYN */
	uint16_t machine;   /* EM_X86_64 ... */
	uint8_t has_interp; /* dynamically linked */
	uint8_t build_id_bytes;
	uint8_t build_id[ELF_BUILD_ID_MAX];
	uint16_t segment_count;
	struct elf_segment segments[ELF_SEGMENTS_MAX];
};

#define ELF_SYMBOL_NAME_MAX 240
#define ELF_SYMBOLS_MAX     (UINT32_C(1) << 19)

/* A function. */
struct elf_symbol {
	uint64_t file_off, bytes;
	char name[ELF_SYMBOL_NAME_MAX]; /* as in the file (C++ and Rust: mangled), cut where it is longer */
};

/*
 * Start reading the file open at FILE_FD (any offset; it is not moved). Returns at once.
 * Returns 0, or -1 with ERR (word "elf-reader"); then nothing was left behind.
 */
int elf_reader_start(struct reader *reader, int file_fd, struct error *err);

/*
 * Wait at most TIMEOUT_MS for the answer, then end and reap the reader. READER is finished after.
 * Returns 0 and *OUT, or -1 with ERR: word "elf-invalid" (not an ELF file, or absurd) or "elf-reader" (it did not
 * answer).
 */
int elf_reader_finish(struct reader *reader, int timeout_ms, struct elf_facts *out, struct error *err);

/*
 * The functions of the ELF file open at FILE_FD, in any order: those of its symbol table, or where it was stripped
 * those that it exports; ELF_SYMBOLS_MAX at most. EACH is called with every one; its name is of printable ASCII
 * characters without blanks, whatever the file says. Takes TIMEOUT_MS at most. Returns 0; -1 with ERR (as
 * elf_reader_finish()) where these are not all, or where EACH returned -1 (ERR is its own).
 */
int elf_read_symbols(int file_fd, int timeout_ms, int (*each)(const struct elf_symbol *symbol, void *context),
                     void *context, struct error *err);

/* The build id as lower-case hex into BUF (at least 2 * ELF_BUILD_ID_MAX + 1 bytes); empty where there is none. */
const char *elf_build_id_hex(const struct elf_facts *facts, char *buf);
