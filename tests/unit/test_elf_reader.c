/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandboxed ELF reader: real programs, and files made to hurt it.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/elf/elf_client.h"

#define READER     "hugexec-elf-reader"
#define TIMEOUT_MS 60000

static int read_fd(int fd, struct elf_info *info, struct error *err)
{
	struct reader reader;
	memset(err, 0, sizeof *err);
	assert_int_equal(elf_reader_start(&reader, fd, err), 0);
	int result = elf_reader_finish(&reader, TIMEOUT_MS, info, err);
	/* Reaped: nobody is left behind. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
	return result;
}

static int read_path(const char *path, struct elf_info *info, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	assert_true(fd >= 0);
	int result = read_fd(fd, info, err);
	close(fd);
	return result;
}

/* A file in memory with these bytes. */
static int file_of(const void *bytes, size_t count)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, count), (ssize_t)count);
	return fd;
}

static void assert_invalid(int fd, const char *what)
{
	struct elf_info info;
	struct error err;
	if (read_fd(fd, &info, &err) == 0)
		fail_msg("accepted: %s", what);
	if (strcmp(reason_word(err.code), "elf-invalid") != 0)
		fail_msg("%s: %s: %s", what, reason_word(err.code), err.detail);
	close(fd);
}

struct small_elf {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[4];
	struct {
		Elf64_Nhdr nhdr;
		char name[4];
		unsigned char id[20];
	} note;
	char rest[512];
};

/* A small good program: two segments and a build id. */
static struct small_elf good_elf(void)
{
	struct small_elf elf = {
	    .ehdr =
	        {
	            .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	            .e_type = ET_DYN,
	            .e_machine = EM_X86_64,
	            .e_version = EV_CURRENT,
	            .e_phoff = offsetof(struct small_elf, phdrs),
	            .e_ehsize = sizeof(Elf64_Ehdr),
	            .e_phentsize = sizeof(Elf64_Phdr),
	            .e_phnum = 4,
	        },
	    .note = {{4, 20, NT_GNU_BUILD_ID}, "GNU", {0xab, 0xcd, 0xef}},
	};
	elf.phdrs[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R, .p_filesz = 64, .p_memsz = 64, .p_align = 4096};
	elf.phdrs[1] = (Elf64_Phdr){.p_type = PT_LOAD,
	                            .p_flags = PF_R | PF_X,
	                            .p_offset = 4096,
	                            .p_vaddr = 0x401000,
	                            .p_filesz = 8192,
	                            .p_memsz = 8192,
	                            .p_align = 4096};
	elf.phdrs[2] = (Elf64_Phdr){.p_type = PT_NOTE,
	                            .p_offset = offsetof(struct small_elf, note),
	                            .p_filesz = sizeof elf.note,
	                            .p_memsz = sizeof elf.note,
	                            .p_align = 4};
	elf.phdrs[3] = (Elf64_Phdr){.p_type = PT_INTERP};
	return elf;
}

static void reads_itself(void **state)
{
	(void)state;
	struct elf_info info;
	struct error err;
	assert_int_equal(read_path("/proc/self/exe", &info, &err), 0);
	assert_int_equal(info.elf_class, ELFCLASS64);
	assert_int_equal(info.type, ET_DYN);
	assert_true(info.has_interp);
	assert_in_range(info.segment_count, 2, 8);
	unsigned executable = 0;
	for (unsigned i = 0; i < info.segment_count; i++)
		executable += !!(info.segments[i].flags & PF_X);
	assert_int_equal(executable, 1);
	assert_int_equal(info.build_id_bytes, 20);
}

static void reads_a_generated_file(void **state)
{
	(void)state;
	struct elf_info info;
	struct error err;
	char hex[2 * ELF_BUILD_ID_MAX + 1];
	struct small_elf elf = good_elf();
	int fd = file_of(&elf, sizeof elf);
	lseek(fd, 3, SEEK_SET);
	assert_int_equal(read_fd(fd, &info, &err), 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 3); /* it is the caller's */
	assert_int_equal(info.segment_count, 2);
	assert_int_equal(info.machine, EM_X86_64);
	assert_true(info.has_interp);
	assert_int_equal(info.segments[1].vaddr, 0x401000);
	assert_int_equal(info.segments[1].file_off, 4096);
	assert_int_equal(info.segments[1].file_bytes, 8192);
	assert_int_equal(info.segments[1].flags, PF_R | PF_X);
	assert_string_equal(elf_build_id_hex(&info, hex), "abcdef0000000000000000000000000000000000");
	close(fd);
}

static void reads_32_bit_headers(void **state)
{
	(void)state;
	struct {
		Elf32_Ehdr ehdr;
		Elf32_Phdr phdr;
	} elf = {
	    .ehdr = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
	             .e_type = ET_EXEC,
	             .e_machine = EM_386,
	             .e_version = EV_CURRENT,
	             .e_phoff = sizeof(Elf32_Ehdr),
	             .e_ehsize = sizeof(Elf32_Ehdr),
	             .e_phentsize = sizeof(Elf32_Phdr),
	             .e_phnum = 1},
	    .phdr = {.p_type = PT_LOAD, .p_vaddr = 0x8048000, .p_filesz = 100, .p_memsz = 200, .p_flags = PF_R | PF_X},
	};
	struct elf_info info;
	struct error err;
	int fd = file_of(&elf, sizeof elf);
	assert_int_equal(read_fd(fd, &info, &err), 0);
	assert_int_equal(info.elf_class, ELFCLASS32);
	assert_int_equal(info.machine, EM_386);
	assert_int_equal(info.segment_count, 1);
	assert_int_equal(info.segments[0].vaddr, 0x8048000);
	assert_int_equal(info.segments[0].mem_bytes, 200);
	assert_int_equal(info.build_id_bytes, 0);
	assert_false(info.has_interp);
	close(fd);
}

static void refuses_what_is_no_elf_file(void **state)
{
	(void)state;
	assert_invalid(file_of("", 0), "empty");
	assert_invalid(file_of("#!/bin/sh\n", 10), "a script");
	assert_invalid(file_of("\177ELF", 4), "magic only");
	assert_invalid(file_of("!<arch>\nx", 9), "an archive");
	assert_invalid(open("/", O_RDONLY | O_CLOEXEC), "a directory");
	assert_invalid(open("/dev/zero", O_RDONLY | O_CLOEXEC), "a device without end");
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_invalid(fds[0], "a pipe that nobody writes to");
	close(fds[1]);
}

static void survives_truncation(void **state)
{
	(void)state;
	struct small_elf elf = good_elf();
	size_t whole = offsetof(struct small_elf, rest);
	for (size_t bytes = 0; bytes < whole; bytes += 13) {
		struct elf_info info;
		struct error err;
		int fd = file_of(&elf, bytes);
		/* With all program headers there, only the build id may be missing. */
		if (bytes < offsetof(struct small_elf, note))
			assert_int_equal(read_fd(fd, &info, &err), -1);
		else if (read_fd(fd, &info, &err) == 0)
			assert_true(info.build_id_bytes == 0 || bytes >= whole - 3);
		close(fd);
	}
}

static void refuses_absurd_headers(void **state)
{
	(void)state;
	struct small_elf elf = good_elf();
	elf.ehdr.e_phnum = 65534;
	assert_invalid(file_of(&elf, sizeof elf), "65534 program headers");
	elf.ehdr.e_phnum = PN_XNUM;
	assert_invalid(file_of(&elf, sizeof elf), "PN_XNUM without section headers");
	elf.ehdr.e_shoff = offsetof(struct small_elf, rest);
	elf.ehdr.e_shentsize = sizeof(Elf64_Shdr);
	const Elf64_Shdr shdr = {.sh_info = UINT32_MAX, .sh_size = UINT64_MAX / 64};
	memcpy(elf.rest, &shdr, sizeof shdr);
	assert_invalid(file_of(&elf, sizeof elf), "PN_XNUM with four thousand million");
	elf = good_elf();
	elf.ehdr.e_phoff = UINT64_MAX - 100;
	assert_invalid(file_of(&elf, sizeof elf), "e_phoff at the end of the world");
	elf = good_elf();
	elf.ehdr.e_phoff = sizeof elf - 10;
	assert_invalid(file_of(&elf, sizeof elf), "e_phoff at the end of the file");
	elf = good_elf();
	elf.ehdr.e_phentsize = 1;
	assert_invalid(file_of(&elf, sizeof elf), "e_phentsize 1");
	elf = good_elf();
	elf.phdrs[1].p_filesz = 10;
	elf.phdrs[1].p_memsz = 5;
	assert_invalid(file_of(&elf, sizeof elf), "more in the file than in memory");
	elf = good_elf();
	elf.phdrs[1].p_vaddr = UINT64_MAX - 10;
	assert_invalid(file_of(&elf, sizeof elf), "an address that wraps around");
}

static void refuses_too_many_segments(void **state)
{
	(void)state;
	struct {
		Elf64_Ehdr ehdr;
		Elf64_Phdr phdrs[ELF_SEGMENTS_MAX + 1];
	} elf = {.ehdr = good_elf().ehdr};
	elf.ehdr.e_phnum = ELF_SEGMENTS_MAX + 1;
	for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++)
		elf.phdrs[i].p_type = PT_LOAD;
	assert_invalid(file_of(&elf, sizeof elf), "65 segments");
	elf.ehdr.e_phnum = ELF_SEGMENTS_MAX;
	struct elf_info info;
	struct error err;
	int fd = file_of(&elf, sizeof elf);
	assert_int_equal(read_fd(fd, &info, &err), 0);
	assert_int_equal(info.segment_count, ELF_SEGMENTS_MAX);
	close(fd);
}

static void absurd_notes_give_no_build_id(void **state)
{
	(void)state;
	struct elf_info info;
	struct error err;
	static const struct {
		uint32_t name, desc;
		uint64_t offset, bytes;
	} notes[] = {
	    {UINT32_MAX, 20, 0, 0}, {4, UINT32_MAX, 0, 0},      {4, 0, 0, 0},           {4, ELF_BUILD_ID_MAX + 1, 0, 0},
	    {4, 255, 0, 0},         {4, 20, UINT64_MAX - 8, 0}, {4, 20, 0, UINT64_MAX},
	};
	for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
		struct small_elf elf = good_elf();
		elf.note.nhdr.n_namesz = notes[i].name;
		elf.note.nhdr.n_descsz = notes[i].desc;
		if (notes[i].offset)
			elf.phdrs[2].p_offset = notes[i].offset;
		/* Room behind it, so that not only its end stops a long one. */
		elf.phdrs[2].p_filesz = notes[i].bytes ? notes[i].bytes : sizeof elf.note + sizeof elf.rest;
		int fd = file_of(&elf, sizeof elf);
		bool in_the_file = !notes[i].offset && !notes[i].bytes;
		if (read_fd(fd, &info, &err) == 0)
			assert_in_range(info.build_id_bytes, 0, notes[i].bytes ? 20 : 0);
		else if (in_the_file)
			fail_msg("note %zu: %s: %s", i, reason_word(err.code), err.detail);
		else
			assert_string_equal(reason_word(err.code), "elf-invalid");
		close(fd);
	}
}

/* A file of a terabyte, nearly all of it a hole, whose tables reach far into the hole. */
static void a_terabyte_costs_nothing(void **state)
{
	(void)state;
	struct small_elf elf = good_elf();
	struct timespec began, ended;
	elf.ehdr.e_shoff = UINT64_C(1) << 30;
	elf.ehdr.e_shentsize = sizeof(Elf64_Shdr);
	elf.ehdr.e_phnum = PN_XNUM;
	elf.phdrs[2].p_filesz = UINT64_C(1) << 39;
	int fd = file_of(&elf, sizeof elf);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	Elf64_Shdr shdr = {.sh_info = UINT32_MAX, .sh_size = UINT64_C(1) << 33};
	assert_int_equal(pwrite(fd, &shdr, sizeof shdr, (off_t)1 << 30), sizeof shdr);
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_invalid(fd, "tables of 240 GiB");
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_in_range(ended.tv_sec - began.tv_sec, 0, 60); /* to read that much takes longer */
	/* With a sane table the same file is read. */
	elf.ehdr.e_phnum = 4;
	struct elf_info info;
	struct error err;
	fd = file_of(&elf, sizeof elf);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	assert_int_equal(read_fd(fd, &info, &err), 0);
	assert_int_equal(info.build_id_bytes, 20);
	close(fd);
}

/* Every byte of the headers in turn: no crash that shows as silence, and no answer that is_sane() should have caught.
 */
static void survives_flipped_bytes(void **state)
{
	(void)state;
	for (size_t at = 0; at < offsetof(struct small_elf, rest); at += 3) {
		struct small_elf elf = good_elf();
		((unsigned char *)&elf)[at] ^= 0xff;
		struct elf_info info;
		struct error err;
		int fd = file_of(&elf, sizeof elf);
		if (read_fd(fd, &info, &err) < 0 && strcmp(reason_word(err.code), "elf-invalid") != 0)
			fail_msg("byte %zu: %s: %s", at, reason_word(err.code), err.detail);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_itself),
	    cmocka_unit_test(reads_a_generated_file),
	    cmocka_unit_test(reads_32_bit_headers),
	    cmocka_unit_test(refuses_what_is_no_elf_file),
	    cmocka_unit_test(survives_truncation),
	    cmocka_unit_test(refuses_absurd_headers),
	    cmocka_unit_test(refuses_too_many_segments),
	    cmocka_unit_test(absurd_notes_give_no_build_id),
	    cmocka_unit_test(a_terabyte_costs_nothing),
	    cmocka_unit_test(survives_flipped_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
