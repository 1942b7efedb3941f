/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c and plan.c: what is mapped, and which addresses go on huge pages. Pure functions, so no process is needed.
 */
#include <elf.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/cow_pages.h"
#include "mm/maps.h"
#include "mm/pt_load.h"
#include "remap/plan.h"

static const uint64_t entry_only[] = {9 /* AT_ENTRY */, 0x555555602000, 0, 0};

static struct address_space parse(const char *maps)
{
	struct address_space space;
	struct error err = {0};
	assert_int_equal(address_space_parse(maps, entry_only, 4, 4096, &space, &err), 0);
	return space;
}

static struct plan plan_of(const char *maps, const struct settings *settings, uint64_t page_bytes)
{
	struct address_space space = parse(maps);
	struct plan plan;
	assert_true(space.has_exe);
	plan_make(&space, space.exe_index, settings, page_bytes, &plan);
	address_space_free(&space);
	return plan;
}

static struct settings any_size(void)
{
	struct settings settings;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	return settings;
}

static const char program[] = "555555400000-555555501000 r--p 00000000 fe:00 42 /bin/x\n"
                              "555555501000-555555c03000 r-xp 00101000 fe:00 42 /bin/x\n"
                              "555555c03000-555555f00000 r--p 00803000 fe:00 42 /bin/x\n"
                              "555555f00000-555555f01000 rw-p 00b00000 fe:00 42 /bin/x\n"
                              "7ffff7d00000-7ffff7f00000 r-xp 00000000 fe:00 43 /lib/libc.so\n"
                              "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n"
                              "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";

static void test_image(void **state)
{
	(void)state;
	struct address_space space = parse(program);
	assert_int_equal(space.count, 7);
	assert_int_equal(space.exe_index, 1);
	assert_int_equal(space.mappings[1].prot, PROT_READ | PROT_EXEC);
	assert_string_equal(space.mappings[4].path, "/lib/libc.so");
	assert_int_equal(address_space_find(&space, 0x555555501000), 1);
	assert_int_equal(address_space_find(&space, 0x555555500fff), 0);
	assert_int_equal(address_space_find(&space, 0x1000), -1);
	assert_true(mapping_same_file(&space.mappings[0], &space.mappings[3]));
	assert_false(mapping_same_file(&space.mappings[0], &space.mappings[4]));
	assert_false(mapping_same_file(&space.mappings[5], &space.mappings[6]));
	address_space_free(&space);
}

static void test_hostile_maps(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    "nonsense\n",
	    "2000-1000 r-xp 00000000 fe:00 42 /bin/x\n",
	    "1000-2000 r-xp 00000000 fe:00 42 /bin/x\n1000-2000 r-xp 00000000 fe:00 42 /bin/x\n",
	    "1001-2000 r-xp 00000000 fe:00 42 /bin/x\n",
	};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct address_space space;
		struct error err = {0};
		assert_int_equal(address_space_parse(texts[i], entry_only, 4, 4096, &space, &err), -1);
		assert_string_equal(reason_word(err.code), "image");
	}
}

static void test_gap(void **state)
{
	(void)state;
	struct address_space space = parse(program);
	uint64_t gap = address_space_find_gap(&space, space.count - 1, 64 * MIB, 2 * MIB, 0x3000);
	assert_true(gap != 0);
	assert_int_equal(gap % (2 * MIB), 0x3000);
	for (size_t i = 0; i < space.count; i++)
		assert_true(gap + 64 * MIB <= space.mappings[i].start || gap >= space.mappings[i].end);
	/* The hole below the stack is its own to grow into, and nothing can be put below [vsyscall]. */
	assert_true(gap + 64 * MIB <= 0x7ffff7d00000);
	assert_int_equal(address_space_find_gap(&space, space.count - 1, UINT64_C(1) << 60, 2 * MIB, 0), 0);
	address_space_free(&space);
}

static void test_whole_slots(void **state)
{
	(void)state;
	struct settings settings = any_size();
	struct plan plan = plan_of(program, &settings, 2 * MIB);
	assert_false(error_is_set(&plan.reason));
	assert_int_equal(plan.text_bytes, 0x702000);
	assert_int_equal(plan.range_count, 1);
	assert_int_equal(plan.ranges[0].start, 0x555555600000);
	assert_int_equal(plan.ranges[0].end, 0x555555c00000);
	assert_int_equal(plan.range_bytes, 6 * MIB);
	assert_int_equal(plan.ranges[0].piece_count, 1);
	assert_int_equal(plan.pieces[0].file_off, 0x200000);
}

static void test_round_out(void **state)
{
	(void)state;
	struct settings settings = any_size();
	settings.round_out = true;
	struct plan plan = plan_of(program, &settings, 2 * MIB);
	assert_int_equal(plan.ranges[0].start, 0x555555400000);
	assert_int_equal(plan.ranges[0].end, 0x555555e00000);
	assert_int_equal(plan.ranges[0].piece_count, 3);
	assert_int_equal(plan.pieces[0].file_off, 0);
	assert_int_equal(plan.pieces[1].file_off, 0x101000);
	assert_int_equal(plan.pieces[2].file_off, 0x803000);
}

/* What is writable, or somebody else's, or not there is never rounded over. */
static void test_round_out_stops(void **state)
{
	(void)state;
	struct settings settings = any_size();
	settings.round_out = true;
	struct plan plan = plan_of("555555400000-555555501000 r--p 00000000 fe:00 43 /bin/other\n"
	                           "555555501000-555555c03000 r-xp 00101000 fe:00 42 /bin/x\n"
	                           "555555c03000-555555f00000 rw-p 00803000 fe:00 42 /bin/x\n",
	                           &settings, 2 * MIB);
	assert_int_equal(plan.ranges[0].start, 0x555555600000);
	assert_int_equal(plan.ranges[0].end, 0x555555c00000);
}

/* RELRO is read-only when the library is looked at, and what ld.so wrote there is not in the file. */
static void test_round_out_stops_at_changes(void **state)
{
	(void)state;
	struct settings settings = any_size();
	settings.round_out = true;
	struct address_space space = parse(program);
	struct plan plan;
	space.mappings[2].changed = true;
	plan_make(&space, space.exe_index, &settings, 2 * MIB, &plan);
	assert_int_equal(plan.ranges[0].start, 0x555555400000);
	assert_int_equal(plan.ranges[0].end, 0x555555c00000);
	address_space_free(&space);
}

static void test_reasons(void **state)
{
	(void)state;
	struct settings settings = any_size();
	settings.min_text_bytes = 64 * MIB;
	assert_string_equal(reason_word(plan_of(program, &settings, 2 * MIB).reason.code), "text-small");
	settings = any_size();
	settings.max_text_bytes = MIB;
	assert_string_equal(reason_word(plan_of(program, &settings, 2 * MIB).reason.code), "text-large");
	settings = any_size();
	assert_string_equal(reason_word(plan_of(program, &settings, GIB).reason.code), "no-huge-slot");
	assert_string_equal(
	    reason_word(
	        plan_of("555555501000-555555c03000 rwxp 00101000 fe:00 42 /bin/x\n", &settings, 2 * MIB).reason.code),
	    "text-writable");
	assert_string_equal(
	    reason_word(
	        plan_of("555555501000-555555c03000 r--p 00101000 fe:00 42 /bin/x\n", &settings, 2 * MIB).reason.code),
	    "no-text");
	assert_string_equal(
	    reason_word(
	        plan_of("555555501000-555555c03000 r-xs 00101000 fe:00 42 /bin/x\n", &settings, 2 * MIB).reason.code),
	    "no-text");
}

static void test_gigabyte_pages(void **state)
{
	(void)state;
	struct settings settings = any_size();
	struct plan plan = plan_of("555540000000-5555e0000000 r-xp 00000000 fe:00 42 /bin/x\n", &settings, GIB);
	assert_int_equal(plan.range_bytes, 2 * GIB);
	assert_int_equal(plan.ranges[0].start % GIB, 0);
}

/* Every range of a plan is aligned, after the one before it, and each of its bytes has one piece inside own memory. */
static void check_plan(const struct address_space *space, const struct plan *plan)
{
	uint64_t last_end = 0, covered = 0;
	for (unsigned i = 0; i < plan->range_count; i++) {
		const struct plan_range *range = &plan->ranges[i];
		assert_true(range->start >= last_end && range->start < range->end);
		assert_int_equal((range->start | range->end) % plan->page_bytes, 0);
		uint64_t at = range->start;
		for (unsigned j = 0; j < range->piece_count; j++) {
			const struct plan_piece *piece = &plan->pieces[range->first_piece + j];
			ssize_t in = address_space_find(space, piece->start);
			assert_true(in >= 0 && piece->start == at && piece->end > piece->start);
			const struct mapping *mapping = &space->mappings[in];
			assert_true(piece->end <= mapping->end && !(mapping->prot & PROT_WRITE) &&
			            mapping->inode == 42);
			assert_int_equal(piece->file_off, mapping->file_off + (piece->start - mapping->start));
			at = piece->end;
		}
		assert_int_equal(at, range->end);
		last_end = range->end;
		covered += range->end - range->start;
	}
	assert_int_equal(covered, plan->range_bytes);
}

static void test_random_images(void **state)
{
	(void)state;
	static const char *const perms[] = {"r-xp", "r--p", "rw-p", "r-xp", "rwxp", "---p"};
	srand(20261123);
	for (int round = 0; round < 3000; round++) {
		char maps[4096] = "";
		uint64_t at = 0x555555000000;
		for (int i = 0, count = 1 + rand() % 12; i < count; i++) {
			at += rand() % 3 ? 0 : (uint64_t)(rand() % 700) * 4096;
			uint64_t bytes = (uint64_t)(1 + rand() % 3000) * 4096;
			snprintf(maps + strlen(maps), sizeof maps - strlen(maps), "%lx-%lx %s %08lx fe:00 %d /bin/x\n",
			         (unsigned long)at, (unsigned long)(at + bytes), perms[rand() % 6],
			         (unsigned long)(rand() % 5000) * 4096, rand() % 5 ? 42 : 43);
			at += bytes;
		}
		struct settings settings = any_size();
		settings.round_out = rand() % 2;
		struct address_space space = parse(maps);
		for (size_t i = 0; i < space.count; i++) {
			struct plan plan;
			if (space.mappings[i].inode != 42)
				continue;
			plan_make(&space, i, &settings, 2 * MIB, &plan);
			check_plan(&space, &plan);
		}
		address_space_free(&space);
	}
}

/* The same text on every size of page that a kernel may have: whole huge pages, from whole base pages of the file. */
static void test_other_page_sizes(void **state)
{
	(void)state;
	struct settings settings = any_size();
	for (uint64_t base = 4096; base <= 65536; base *= 4) {
		char maps[256];
		struct page_sizes pages = pages_of_base(base);
		uint64_t huge = pages.huge_bytes, start = (0x555555602000 / huge) * huge + 3 * base;
		snprintf(maps, sizeof maps, "%" PRIx64 "-%" PRIx64 " r-xp %08" PRIx64 " fe:00 42 /bin/x\n", start,
		         start + 4 * huge, base);
		struct address_space space = parse(maps);
		struct plan plan;
		plan_make(&space, 0, &settings, huge, &plan);
		address_space_free(&space);
		assert_int_equal(plan.range_count, 1);
		assert_int_equal(plan.ranges[0].start, start - 3 * base + huge);
		assert_int_equal(plan.range_bytes, 3 * huge);
		assert_int_equal(plan.pieces[0].file_off % base, 0);
		assert_int_equal(plan.pieces[0].file_off, huge - 2 * base);
	}
}

/* A program of segments that begin and end anywhere: the kernel maps whole pages of its own size. */
static void test_segments_are_whole_pages(void **state)
{
	(void)state;
	const Elf64_Phdr phdrs[] = {
	    {.p_type = PT_LOAD, .p_memsz = 0x12345, .p_align = 0x1000},
	    {.p_type = PT_LOAD, .p_vaddr = 0x212345, .p_memsz = 0x20000, .p_align = 0x10000},
	};
	Elf64_Ehdr ehdr = {.e_type = ET_DYN, .e_phoff = sizeof ehdr, .e_phnum = 2};
	memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
	ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	ehdr.e_ident[EI_DATA] = ARCH_ELF_DATA;
	int fd = memfd_create("segments", MFD_CLOEXEC);
	assert_int_equal(write(fd, &ehdr, sizeof ehdr), sizeof ehdr);
	assert_int_equal(write(fd, phdrs, sizeof phdrs), sizeof phdrs);
	static const struct {
		uint64_t page, end, start, align;
	} cases[] = {{4096, 0x13000, 0x212000, 0x10000},
	             {16384, 0x14000, 0x210000, 0x10000},
	             {65536, 0x20000, 0x210000, 0x10000}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct segments segments;
		assert_int_equal(segments_read(fd, 0, cases[i].page, &segments, NULL), 0);
		assert_int_equal(segments.count, 2);
		assert_int_equal(segments.list[0].start, 0);
		assert_int_equal(segments.list[0].end, cases[i].end);
		assert_int_equal(segments.list[1].start, cases[i].start);
		assert_int_equal(segments.align, cases[i].align);
	}
	close(fd);
}

/* A pagemap has an entry for each base page: an address is looked up by the size that the system has. */
static void test_private_pages(void **state)
{
	(void)state;
	for (uint64_t base = 4096; base <= 65536; base *= 4) {
		uint64_t entries[64] = {0}, own = UINT64_C(1) << 63, of_file = UINT64_C(5) << 61;
		int fd = memfd_create("pagemap", MFD_CLOEXEC);
		for (unsigned i = 0; i < 64; i++)
			entries[i] = i == 40 ? own : of_file;
		assert_int_equal(write(fd, entries, sizeof entries), sizeof entries);
		assert_true(private_pages_in(fd, 40 * base, 41 * base, base));
		assert_true(private_pages_in(fd, 30 * base, 40 * base + 1, base));
		assert_false(private_pages_in(fd, 0, 40 * base, base));
		assert_false(private_pages_in(fd, 41 * base, 64 * base, base));
		assert_true(private_pages_in(fd, 60 * base, 65 * base, base)); /* the map ends: not known */
		close(fd);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(pages_of_base(4096).huge_bytes, 2 * MIB);
	assert_int_equal(pages_of_base(16384).huge_bytes, 32 * MIB);
	assert_int_equal(pages_of_base(65536).huge_bytes, 512 * MIB);
	assert_int_equal(host_pages()->base_bytes, sysconf(_SC_PAGESIZE));
	assert_true(host_pages()->huge_bytes % host_pages()->base_bytes == 0);
	uint64_t sizes[8], pool = 0;
	unsigned count = host_hugetlb_sizes(sizes, 8);
	for (unsigned i = 0; i < count; i++) {
		assert_true(sizes[i] > pool);
		pool = sizes[i];
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_image),
	    cmocka_unit_test(test_hostile_maps),
	    cmocka_unit_test(test_gap),
	    cmocka_unit_test(test_whole_slots),
	    cmocka_unit_test(test_round_out),
	    cmocka_unit_test(test_round_out_stops),
	    cmocka_unit_test(test_round_out_stops_at_changes),
	    cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_gigabyte_pages),
	    cmocka_unit_test(test_random_images),
	    cmocka_unit_test(test_other_page_sizes),
	    cmocka_unit_test(test_segments_are_whole_pages),
	    cmocka_unit_test(test_private_pages),
	    cmocka_unit_test(test_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
