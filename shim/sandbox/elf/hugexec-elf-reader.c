/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-elf-reader - sandboxed parser of ELF files.
 *
 * Started by elf_client.c or library_search.c. It locks itself up (sandbox/sandbox_enter.h), parses one file's headers
 * (elf_parse.h) or symbols, or searches for a program's libraries (library_search.h), tells what it has found
 * (elf_reply.h, library_search.h) and exits.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "sandbox/elf/elf_parse.h"
#include "sandbox/elf/elf_reply.h"
#include "sandbox/elf/library_search.h"
#include "sandbox/sandbox_enter.h"

#define MEMORY_BYTES (64 * MIB)

int main(int argc, char **argv)
{
	static struct elf_answer answer = {.magic = ELF_ANSWER_MAGIC};
	if (argc < 2 || argv[1][0] == '-') {
		fputs("hugexec-elf-reader: hugexec starts it, with the file that it is to read; it has no options\n",
		      stderr);
		return 2;
	}
	const char *mode = argc > 2 ? argv[2] : NULL;
	bool searches = mode && strcmp(mode, SEARCH_MODE) == 0;
	if (searches)
		sandbox_enter_for_files(argv[1], MEMORY_BYTES);
	else
		sandbox_enter(argv[1], MEMORY_BYTES);
	if (searches && argc == 3)
		_exit(search_serve(READER_FILE_FD, READER_ANSWER_FD) == 0 ? 0 : 1);
	if (mode && strcmp(mode, ELF_READER_SYMBOLS) == 0)
		_exit(elf_parse_symbols(READER_FILE_FD, READER_ANSWER_FD) == 0 ? 0 : 1);
	if (mode) {
		reader_misbehave(argv[argc - 1]);
		_exit(0);
	}
	answer.status = elf_parse(READER_FILE_FD, &answer.info);
	ssize_t put = write(READER_ANSWER_FD, &answer, sizeof answer);
	_exit(put == sizeof answer ? 0 : 1);
}
