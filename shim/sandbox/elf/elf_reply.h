/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_reply.h - what hugexec-elf-reader writes and elf_client.c reads: flat structs, so that there is nothing to parse.
 *
 * Asked for headers it writes one struct elf_answer; asked for symbols (ELF_READER_SYMBOLS after the parent's pid) any
 * number of struct elf_symbol, and one of zeros, which says that these were all.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "sandbox/elf/elf_info.h"

#define ELF_ANSWER_MAGIC   0x68786572U /* changes with the struct */
#define ELF_READER_SYMBOLS "symbols"

enum elf_answer_status { ELF_ANSWER_OK, ELF_ANSWER_NOT_ELF, ELF_ANSWER_ABSURD };

struct elf_answer {
	uint32_t magic;
	uint32_t status; /* enum elf_answer_status */
	struct elf_info info;
};

/*
 * Pure: what the answer says, checked as if the stranger whose file was read had said it. Returns 0 and *OUT, or -1
 * with ERR as elf_reader_finish().
 */
int elf_answer_check(const struct elf_answer *answer, struct elf_info *out, struct error *err);
