/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_client.h - read an ELF file's headers without trusting it.
 *
 * The file may be anybody's, the caller may be root. So the parsing (libelf) is done by `hugexec-elf-reader`, a process
 * of its own that gets the open file and a pipe, locks itself up (sandbox/sandbox_enter.h), and answers with one flat
 * struct elf_info, which is checked field by field before anyone sees it.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "sandbox/elf/elf_info.h"
#include "sandbox/sandbox_spawn.h"

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
int elf_reader_finish(struct reader *reader, int timeout_ms, struct elf_info *out, struct error *err);

/*
 * The functions of the ELF file open at FILE_FD, in any order: those of its symbol table, or if it was stripped
 * those that it exports; ELF_SYMBOLS_MAX at most. EACH is called with every one; its name is of printable ASCII
 * characters without blanks, whatever the file says. Takes TIMEOUT_MS at most. Returns 0; -1 with ERR (as
 * elf_reader_finish()) if these are not all, or if EACH returned -1 (ERR is its own).
 */
int elf_read_symbols(int file_fd, int timeout_ms, int (*each)(const struct elf_symbol *symbol, void *context),
                     void *context, struct error *err);

/* The build id as lower-case hex into BUF (at least 2 * ELF_BUILD_ID_MAX + 1 bytes); empty if there is none. */
const char *elf_build_id_hex(const struct elf_info *info, char *buf);
