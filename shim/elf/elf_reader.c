#include "elf/elf_reader.h"

#include <stdio.h>

int elf_reader_start(struct elf_reader *reader, int file_fd, struct error *err)
{
	(void)reader, (void)file_fd;
	return error_set(err, "elf-reader", "not built");
}

int elf_reader_finish(struct elf_reader *reader, int timeout_ms, struct elf_facts *out, struct error *err)
{
	(void)reader, (void)timeout_ms, (void)out;
	return error_set(err, "elf-reader", "not built");
}

const char *elf_build_id_hex(const struct elf_facts *facts, char *buf)
{
	buf[0] = '\0';
	for (unsigned i = 0; i < facts->build_id_bytes; i++)
		snprintf(buf + 2 * i, 3, "%02x", facts->build_id[i]);
	return buf;
}
