/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a stranger's file, through what hugexec-elf-reader does with them, and what is then done with its
 * answer.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzzing.h"
#include "sandbox/elf/elf_client.h"
#include "sandbox/elf/elf_parse.h"

static int sink(void)
{
	static int fd = -1;
	return fd >= 0 ? fd : (fd = open("/dev/null", O_WRONLY | O_CLOEXEC));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_answer answer = {.magic = ELF_ANSWER_MAGIC};
	struct elf_info info;
	struct error err = {0};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	answer.status = elf_parse(fd, &answer.info);
	if (elf_parse_symbols(fd, sink()) == 0)
		MUST(answer.status == ELF_ANSWER_OK);
	close(fd);
	MUST(answer.info.segment_count <= ELF_SEGMENTS_MAX && answer.info.build_id_bytes <= ELF_BUILD_ID_MAX);
	if (elf_answer_check(&answer, &info, &err) < 0) {
		MUST(error_is_set(&err));
		return 0;
	}
	char hex[2 * ELF_BUILD_ID_MAX + 1];
	MUST(strlen(elf_build_id_hex(&info, hex)) == (size_t)2 * info.build_id_bytes);
	return 0;
}
