/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hugexec reads of a program's file before it is executed: of its headers, those at its beginning alone.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "mm/pt_load.h"
#include "tracer/exe_inspect.h"

#define TEXT_BYTES (UINT64_C(4) << 20)
#define PHDR_OFF   sizeof(Elf64_Ehdr)

/* A program that promises TEXT_BYTES of text by one header behind its first, COUNT of which begin at TABLE_OFF. */
static int program_file(uint64_t table_off, uint16_t count)
{
	Elf64_Ehdr ehdr = {.e_type = ET_DYN,
	                   .e_machine = ARCH_ELF_MACHINE,
	                   .e_phentsize = sizeof(Elf64_Phdr),
	                   .e_phoff = table_off,
	                   .e_phnum = count};
	const Elf64_Phdr phdr = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_memsz = TEXT_BYTES, .p_align = 4096};
	unsigned char page[4096] = {0};
	memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
	ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	ehdr.e_ident[EI_DATA] = ARCH_ELF_DATA;
	memcpy(page, &ehdr, sizeof ehdr);
	memcpy(page + PHDR_OFF, &phdr, sizeof phdr);
	int fd = memfd_create("program", MFD_CLOEXEC);
	assert_int_equal(write(fd, page, sizeof page), sizeof page);
	return fd;
}

static uint64_t promised(int fd)
{
	struct program program;
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	program_inspect_path(path, &program);
	assert_int_equal(program.kind, PROGRAM_ELF);
	return program.text_bytes;
}

static void sums_up_what_is_at_the_beginning(void **state)
{
	(void)state;
	int fd = program_file(PHDR_OFF, 1);
	assert_int_equal(promised(fd), TEXT_BYTES);
	close(fd);
}

/* The offset of the table is the file's: one that lies outside of what was read leads nowhere, though it may come back
 * by wrapping. */
static void follows_no_offset_out_of_it(void **state)
{
	(void)state;
	const uint64_t one = sizeof(Elf64_Phdr);
	const struct {
		uint64_t table_off;
		uint16_t count;
	} cases[] = {{4096, 1}, {4096 - one + 1, 1}, {PHDR_OFF - 2 * one, 3}, {UINT64_MAX, 9}, {UINT64_C(1) << 63, 9}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct segments segments;
		int fd = program_file(cases[i].table_off, cases[i].count);
		assert_int_equal(promised(fd), 0);
		assert_int_equal(segments_read(fd, 0, 4096, &segments, NULL), -1);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sums_up_what_is_at_the_beginning),
	    cmocka_unit_test(follows_no_offset_out_of_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
