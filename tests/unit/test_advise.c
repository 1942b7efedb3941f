/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is advised, on a machine with counters and on one without: the perf layer (host/perf.h) is this file's, which
 * the linker takes in place of the real one. Processes, maps and ELF files are real: a file with 62 MiB of text is
 * mapped here, and the samples are of this process.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "ctl/advise_print.h"
#include "ctl/survey.h"

#define MIB        (UINT64_C(1) << 20)
#define TEXT_BYTES (62 * MIB)
#define SECONDS    0.6

/* What the fake machine does. */
static struct {
	uint64_t start, hot_bytes;     /* where the program runs, evenly */
	uint64_t jit_start, jit_bytes; /* and JIT_OF_TEN of ten times there */
	unsigned jit_of_ten;
	unsigned samples_a_drain;
	bool has_counters;
	double walk_share;
	int opened;
} machine;

static uint64_t sequence = 88172645463325252;

static uint64_t chance(uint64_t below)
{
	sequence ^= sequence << 13;
	sequence ^= sequence >> 7;
	sequence ^= sequence << 17;
	return (sequence >> 11) % below;
}

int perf_sampler_open(pid_t tid, unsigned hz, struct perf_sampler *out)
{
	(void)tid;
	(void)hz;
	*out = (struct perf_sampler){.fd = -1};
	machine.opened++;
	return 0;
}

void perf_sampler_drain(struct perf_sampler *sampler, void (*take)(void *context, uint64_t ip), void *context)
{
	(void)sampler;
	for (unsigned i = 0; i < machine.samples_a_drain; i++) {
		bool is_jit = chance(10) < machine.jit_of_ten;
		take(context, is_jit ? machine.jit_start + chance(machine.jit_bytes)
		                     : machine.start + chance(machine.hot_bytes));
	}
}

void perf_sampler_close(struct perf_sampler *sampler)
{
	(void)sampler;
	machine.opened--;
}

int perf_counters_open(pid_t tid, const struct itlb_events *events, bool is_tree, struct perf_counters *out)
{
	assert_false(is_tree); /* each thread has its own */
	(void)tid;
	(void)events;
	(void)out;
	return machine.has_counters ? 0 : -1;
}

void perf_counters_add(const struct perf_counters *counters, double counts[PERF_COUNTS])
{
	(void)counters;
	counts[COUNT_CYCLES] += 1e9;
	counts[COUNT_INSTRUCTIONS] += 5e8;
	counts[COUNT_WALKS] += 1e9 * machine.walk_share / 30;
	counts[COUNT_WALK_CYCLES] += 1e9 * machine.walk_share;
}

void perf_counters_close(struct perf_counters *counters)
{
	(void)counters;
}

static char text_path[] = "/tmp/hugexec-test-advise-XXXXXX";

/* A library of one segment, all of it text, mapped for execution. */
static void map_text(void)
{
	int fd = mkstemp(text_path);
	Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	                     .e_type = ET_DYN,
	                     .e_machine = EM_X86_64,
	                     .e_version = EV_CURRENT,
	                     .e_phoff = sizeof header,
	                     .e_ehsize = sizeof header,
	                     .e_phentsize = sizeof(Elf64_Phdr),
	                     .e_phnum = 1};
	Elf64_Phdr segment = {
	    .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = TEXT_BYTES, .p_memsz = TEXT_BYTES, .p_align = 4096};
	assert_true(fd >= 0 && ftruncate(fd, (off_t)TEXT_BYTES) == 0);
	assert_int_equal(write(fd, &header, sizeof header), sizeof header);
	assert_int_equal(write(fd, &segment, sizeof segment), sizeof segment);
	void *text = mmap(NULL, TEXT_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	void *jit = mmap(NULL, 4 * MIB, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(text != MAP_FAILED && jit != MAP_FAILED);
	machine.start = (uint64_t)(uintptr_t)text;
	machine.jit_start = (uint64_t)(uintptr_t)jit;
	machine.jit_bytes = 4 * MIB;
	close(fd);
}

static struct watch watch;
static struct survey survey;

static enum advice ask(char *text, size_t text_bytes)
{
	pid_t pid = getpid();
	memset(&watch, 0, sizeof watch);
	assert_int_equal(watch_run(&watch, &pid, 1, SECONDS), 0);
	survey_make(&watch, &survey);
	survey.input.tlb = (struct tlb_sizes){.first = 128, .first_huge = 8, .second = 1536, .second_is_shared = true};
	survey.input.beyond_first = touched_beyond(&watch.pages, 128);
	survey.input.beyond_second = touched_beyond(&watch.pages, 768);
	survey.input.huge_tlb = TLB_HOLDS;
	enum advice advice = advise(&survey.input, text, text_bytes);
	watch_free(&watch);
	assert_int_equal(machine.opened, 0);
	return advice;
}

static void set_machine(uint64_t hot_bytes, unsigned jit_of_ten, unsigned samples, double walk_share)
{
	machine.hot_bytes = hot_bytes;
	machine.jit_of_ten = jit_of_ten;
	machine.samples_a_drain = samples;
	machine.has_counters = walk_share >= 0;
	machine.walk_share = walk_share;
}

static void without_counters_62_mib_of_hot_text_is_yes(void **state)
{
	(void)state;
	char text[512];
	set_machine(TEXT_BYTES, 0, 150, -1);
	assert_int_equal(ask(text, sizeof text), ADVICE_YES);
	assert_non_null(strstr(text, "no counters here"));
	double mib = survey.input.touched.pages / 256;
	if (mib < 45 || mib > 80)
		fail_msg("62 MiB were estimated to be %.1f", mib);
	assert_int_equal(survey.count, 1);
	assert_int_equal(survey.list[0].text_bytes, TEXT_BYTES);
	assert_int_equal(survey.list[0].expected_bytes, TEXT_BYTES);
	assert_false(survey.list[0].is_program);
}

static void without_counters_200_kib_hot_in_62_mib_is_no(void **state)
{
	(void)state;
	char text[512];
	set_machine(200 * 1024, 0, 150, -1);
	assert_int_equal(ask(text, sizeof text), ADVICE_NO);
	assert_true(survey.input.touched.pages >= 49 && survey.input.touched.pages < 60);
	assert_int_equal(survey.list[0].text_bytes, TEXT_BYTES);
}

static void what_fits_the_second_level_only_is_maybe(void **state)
{
	(void)state;
	char text[512];
	set_machine(2 * MIB, 0, 500, -1);
	assert_int_equal(ask(text, sizeof text), ADVICE_MAYBE);
	assert_non_null(strstr(text, "second level"));
}

static void a_jit_is_told_what_part(void **state)
{
	(void)state;
	char text[512];
	set_machine(TEXT_BYTES, 8, 300, -1);
	assert_int_equal(ask(text, sizeof text), ADVICE_MAYBE);
	assert_true(survey.input.jit_share > 0.75 && survey.input.jit_share < 0.85);
	assert_non_null(strstr(text, "JIT compiler"));
	set_machine(TEXT_BYTES, 10, 300, -1); /* nothing else */
	assert_int_equal(ask(text, sizeof text), ADVICE_NO);
}

static void with_counters_they_decide(void **state)
{
	(void)state;
	char text[512];
	set_machine(200 * 1024, 0, 150, 0.062);
	assert_int_equal(ask(text, sizeof text), ADVICE_YES);
	assert_string_equal(text, "6.2 % of its cycles are page walks for instructions (counted; sure)");
	set_machine(TEXT_BYTES, 0, 150, 0.001);
	assert_int_equal(ask(text, sizeof text), ADVICE_NO);
	set_machine(TEXT_BYTES, 0, 150, 0.01);
	assert_int_equal(ask(text, sizeof text), ADVICE_MAYBE);
}

static void a_program_that_hardly_runs_is_not_judged(void **state)
{
	(void)state;
	char text[512];
	set_machine(TEXT_BYTES, 0, 1, 0.5);
	assert_int_equal(ask(text, sizeof text), ADVICE_UNKNOWN);
}

/* What PRINT writes of a machine with counters, in a fresh string. */
static char *printed(void (*print)(const struct survey *survey, const struct watch *watch, const struct huge_tlb *tlb))
{
	static const struct watch nothing;
	const struct huge_tlb tlb = {.verdict = TLB_SPLITS};
	const struct survey counted = {
	    .input = {.has_counters = true,
	              .page_bytes = 4096,
	              .seconds = 2,
	              .touched = {.samples = 1000},
	              .covered_share = 1,
	              .counts = {[COUNT_CYCLES] = 4e9,
	                         [COUNT_INSTRUCTIONS] = 2e9,
	                         [COUNT_WALKS] = 6e6,
	                         [COUNT_WALK_CYCLES] = 2e8,
	                         [COUNT_FIRST_MISSES] = 1e7}},
	};
	FILE *terminal = stdout;
	char *text = NULL;
	size_t bytes;
	stdout = open_memstream(&text, &bytes);
	assert_non_null(stdout);
	print(&counted, &nothing, &tlb);
	fclose(stdout);
	stdout = terminal;
	return text;
}

static void counters_are_told(void **state)
{
	(void)state;
	char *text = printed(advise_print), *json = printed(advise_print_json);
	assert_non_null(strstr(text,
	                       "counted      CPI 2.00; per 1,000 instructions 3.00 page walks and 5.00 misses that the "
	                       "second level answers; 5.0 % of cycles in walks\n"));
	assert_null(strstr(text, "no counters here"));
	/* Whether to change anything is not this machine's to say. */
	assert_non_null(strstr(text,
	                       "yes: 5.0 % of its cycles are page walks for instructions (counted; sure); but that is "
	                       "of another machine, for this one's TLB holds no huge pages"));
	json_object *object = json_tokener_parse(json), *counters = json_object_object_get(object, "counters");
	assert_true(json_object_get_double(json_object_object_get(counters, "cycles_per_instruction")) == 2);
	assert_true(json_object_get_double(json_object_object_get(counters, "walks_per_1000_instructions")) == 3);
	assert_true(json_object_get_double(json_object_object_get(counters, "walk_cycle_share")) == 0.05);
	assert_string_equal(json_object_get_string(json_object_object_get(object, "advice")), "yes");
	json_object_put(object);
	free(text);
	free(json);
}

/* However much time is lost in page walks: what hugexec cannot change is no reason for it. */
static void what_hugexec_cannot_change_is_no_reason(void **state)
{
	(void)state;
	char text[512];
	struct advice_input input = {.has_counters = true,
	                             .seconds = 2,
	                             .touched = {.samples = 1000},
	                             .covered_share = 0.9,
	                             .counts = {[COUNT_CYCLES] = 1e9, [COUNT_INSTRUCTIONS] = 1e9, [COUNT_WALKS] = 4e6}};
	assert_int_equal(advise(&input, text, sizeof text), ADVICE_YES);
	assert_string_equal(text,
	                    "about 10.0 % of its cycles are page walks for instructions (walks were counted, at 25 "
	                    "cycles each; fairly sure)");
	input.huge_share = 0.8;
	assert_int_equal(advise(&input, text, sizeof text), ADVICE_NO);
	assert_non_null(strstr(text, "but its text is on huge pages already, where it is 80 % of the time"));
	input.huge_share = 0;
	input.covered_share = 0.02;
	assert_int_equal(advise(&input, text, sizeof text), ADVICE_NO);
	assert_non_null(strstr(text, "hugexec would put text on huge pages where it is 2 % of the time"));
}

/* Known without a process. */
static void estimates(void **state)
{
	(void)state;
	struct page_counts counts = {0};
	struct touched touched;
	for (uint64_t i = 0; i < 10; i++) {
		for (int k = 0; k < 10; k++)
			assert_int_equal(page_counts_add(&counts, PAGE_OF(1, i)), 0);
	}
	touched_estimate(&counts, -1, &touched);
	assert_true(touched.seen == 10 && touched.samples == 100 && touched.pages > 9.9 && touched.pages < 10.1);
	assert_true(touched_beyond(&counts, 10) <= 0 && touched_beyond(&counts, 5) > 0.49 &&
	            touched_beyond(&counts, 5) < 0.51);
	/* Ten pages seen once, five twice: 25 + 10 * 9 / (2 * 6) = 32.5; a tenth ... of 120 samples is unseen. */
	for (uint64_t i = 0; i < 10; i++)
		page_counts_add(&counts, PAGE_OF(2, i));
	for (uint64_t i = 0; i < 10; i++)
		page_counts_add(&counts, PAGE_OF(2, 100 + i / 2));
	touched_estimate(&counts, -1, &touched);
	assert_true(touched.seen == 25 && touched.pages > 32.4 && touched.pages < 32.6);
	touched_estimate(&counts, 1, &touched);
	assert_true(touched.seen == 10 && touched.samples == 100);
	touched_estimate(&counts, 3, &touched);
	assert_true(touched.seen == 0 && touched.pages < 0.1);
	page_counts_free(&counts);
}

int main(void)
{
	setenv("COLUMNS", "1000", 1); /* each line in one piece */
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(estimates),
	    cmocka_unit_test(without_counters_62_mib_of_hot_text_is_yes),
	    cmocka_unit_test(without_counters_200_kib_hot_in_62_mib_is_no),
	    cmocka_unit_test(what_fits_the_second_level_only_is_maybe),
	    cmocka_unit_test(a_jit_is_told_what_part),
	    cmocka_unit_test(with_counters_they_decide),
	    cmocka_unit_test(counters_are_told),
	    cmocka_unit_test(what_hugexec_cannot_change_is_no_reason),
	    cmocka_unit_test(a_program_that_hardly_runs_is_not_judged),
	};
	map_text();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(text_path);
	return failed;
}
