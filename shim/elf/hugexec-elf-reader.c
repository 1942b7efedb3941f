/*
 * hugexec-elf-reader - reads one ELF file's headers for someone who does not want to.
 *
 * Started by elf_reader.c. It locks itself up (reader/lock_up.h), parses (elf_parse.h), writes one struct elf_answer
 * and exits.
 */
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "elf/answer.h"
#include "elf/elf_parse.h"
#include "reader/lock_up.h"

#define MEMORY_BYTES (64 * MIB)

int main(int argc, char **argv)
{
	static struct elf_answer answer = {.magic = ELF_ANSWER_MAGIC};
	if (argc < 2)
		return 2;
	reader_lock_up(argv[1], MEMORY_BYTES);
	if (argc > 2 && strcmp(argv[2], ELF_READER_SYMBOLS) == 0)
		_exit(elf_parse_symbols(READER_FILE_FD, READER_ANSWER_FD) == 0 ? 0 : 1);
	if (argc > 2) {
		reader_misbehave(argv[2]);
		_exit(0);
	}
	answer.status = elf_parse(READER_FILE_FD, &answer.facts);
	ssize_t put = write(READER_ANSWER_FD, &answer, sizeof answer);
	_exit(put == sizeof answer ? 0 : 1);
}
