/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mapping_build_id - what the kernel says about this program must be what its own note says.
 */
#include "mm/mapping_build_id.h"

#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* The build ID note of the first object, which is the program, as dl_iterate_phdr(3) shows it. */
static int own_note(struct dl_phdr_info *info, size_t size, void *out)
{
	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_NOTE)
			continue;
		const char *at = (const char *)(info->dlpi_addr + header->p_vaddr), *end = at + header->p_memsz;
		while (at + sizeof(ElfW(Nhdr)) <= end) {
			ElfW(Nhdr) note;
			memcpy(&note, at, sizeof note);
			const unsigned char *id = (const unsigned char *)at + sizeof note + ((note.n_namesz + 3) & ~3U);
			if (note.n_type == NT_GNU_BUILD_ID)
				for (unsigned byte = 0; byte < note.n_descsz; byte++)
					snprintf((char *)out + (size_t)2 * byte, 3, "%02x", id[byte]);
			at += sizeof note + ((note.n_namesz + 3) & ~3U) + ((note.n_descsz + 3) & ~3U);
		}
	}
	return 1;
}

static void test_own_program(void **state)
{
	(void)state;
	char told[129] = "stale", note[129] = "";
	dl_iterate_phdr(own_note, note);
	assert_true(note[0]);
	if (mapping_build_id(getpid(), (uintptr_t)&own_note, told, sizeof told) < 0) {
		assert_string_equal(told, "");
		skip(); /* before Linux 6.11 */
	}
	assert_string_equal(told, note);
}

static void test_short_room(void **state)
{
	(void)state;
	char room[7], note[129] = "";
	dl_iterate_phdr(own_note, note);
	if (mapping_build_id(getpid(), (uintptr_t)&own_note, room, sizeof room) < 0)
		skip();
	assert_int_equal(strlen(room), 6);
	assert_memory_equal(room, note, 6);
}

static void test_nothing_to_tell(void **state)
{
	(void)state;
	char told[129];
	void *anonymous = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(anonymous != MAP_FAILED);
	mapping_build_id(getpid(), (uintptr_t)anonymous, told, sizeof told);
	assert_string_equal(told, "");
	munmap(anonymous, 4096);
	assert_int_equal(mapping_build_id(getpid(), (uintptr_t)anonymous, told, sizeof told), -1);
	assert_string_equal(told, "");
	assert_int_equal(mapping_build_id(-1, (uintptr_t)&own_note, told, sizeof told), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_own_program),
	    cmocka_unit_test(test_short_room),
	    cmocka_unit_test(test_nothing_to_tell),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
