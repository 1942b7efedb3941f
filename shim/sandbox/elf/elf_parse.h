/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_parse.h - what hugexec-elf-reader does once it is locked up; apart from it, so that it can be fuzzed.
 */
#pragma once

#include "sandbox/elf/elf_reply.h"

/*
 * Read the headers and the build id of the file open at FD (its offset may move) into FACTS, which are zero before. The
 * file may be anything; what is found is not checked for sense (elf_client.c does that), only bounded.
 */
enum elf_answer_status elf_parse(int fd, struct elf_info *info);

/* The functions of the file open at FD to ANSWER_FD, as elf_reply.h says. Returns 0, or -1 if these are not all. */
int elf_parse_symbols(int fd, int answer_fd);
