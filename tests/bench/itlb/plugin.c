/* SPDX-License-Identifier: Apache-2.0 */
/*
 * itlb - a plugin for QEMU's user mode that simulates instruction TLBs while a program runs.
 *
 *   qemu-x86_64 -plugin itlb.so,program=PATH,out=FILE[,root=FOLDER][,skip=N|begin=FILE][,limit=N]
 *           [,trace=FILE,events=N|,data=1] PATH ARG...
 *
 * Guests are x86-64's or arm64's.
 *
 * program  the executable, which QEMU does not tell
 * root     what QEMU was told with -L, if the guest's loader is not this machine's
 * out      results, as JSON
 * skip     instructions that are only counted before the simulation begins
 * begin    the simulation begins when this file is there, for servers: when they are asked for the first time
 * limit    instructions that are simulated; then the results are written and the process ends at once with status 0
 * trace    what the simulation is fed with, for tests (trace.h), one thread only
 * events   lines of the trace; then as with limit
 * data     TLBs for data instead (data.h)
 *
 * The results are written when the program ends or the limit is reached, whatever comes first. Processes that the
 * program forks simulate, but write nothing.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "core.h"
#include "data.h"
#include "pages.h"
#include "qemu_plugin.h"
#include "results.h"
#include "tlb.h"
#include "trace.h"

#define VCPUS 4096
#define BATCH 16384 /* instructions that a thread counts for itself before it adds them to everybody's */

/* System calls that change mappings, by the guest's numbers. */
struct map_calls {
	const char *target;
	int64_t mmap, munmap, mremap;
};

static const struct map_calls map_calls[] = {{"x86_64", 9, 11, 25}, {"aarch64", 222, 215, 216}};

/* A translated block: the pages it lies in, and how many instructions it has. */
struct block {
	struct code_page *pages[2];
	unsigned insns;
};

struct vcpu {
	struct core *core;      /* NULL until the simulation begins, and of data */
	struct data_core *data; /* NULL until then, and of instructions */
	uint64_t batch;         /* instructions, not yet in skipped or simulated */
	uint64_t simulated;     /* instructions */
};

int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static struct vcpu vcpus[VCPUS];
static atomic_uint_fast64_t skipped, simulated; /* instructions of all threads */
static atomic_bool begun;
static uint64_t skip, limit = UINT64_MAX, events_left;
static const char *out_path, *begin_path, *program_path, *root_path = "";
static const struct map_calls *calls;
static FILE *trace;
static unsigned traced_objects;
static pthread_mutex_t finishing = PTHREAD_MUTEX_INITIALIZER;
static bool finished, is_about_data;
static pid_t process;

static void write_objects(FILE *out)
{
	uint64_t anonymous_insns = 0, anonymous_pages = 0, huge_insns[LAYOUT_COUNT] = {0};
	fputs(",\n\"objects\": [", out);
	for (const struct object *object = pages_objects(); object; object = object->next) {
		uint64_t insns = 0, count = 0, huge[LAYOUT_COUNT];
		for (const struct code_page *page = pages_all(); page; page = page->next) {
			insns += page->object == object ? page->insns : 0;
			count += page->object == object && page->insns;
		}
		static const char *const kinds[] = {"program", "library", "later", "loader"};
		fputs(object == pages_objects() ? "\n  {\"path\": " : ",\n  {\"path\": ", out);
		results_write_string(out, object->path);
		fprintf(out,
		        ", \"kind\": \"%s\", \"text\": %" PRIu64 ", \"insns\": %" PRIu64 ", \"pages\": %" PRIu64
		        ", \"huge\": ",
		        kinds[object->kind], object->text_bytes, insns, count);
		for (enum layout layout = 0; layout < LAYOUT_COUNT; layout++)
			huge[layout] = layout_huge_bytes(layout, object);
		results_write_numbers(out, huge);
		putc('}', out);
	}
	for (const struct code_page *page = pages_all(); page; page = page->next) {
		anonymous_insns += page->object ? 0 : page->insns;
		anonymous_pages += !page->object && page->insns;
		for (unsigned i = 0; i < LAYOUT_COUNT; i++)
			huge_insns[i] += key_is_huge(page->keys[i]) ? page->insns : 0;
	}
	fprintf(out, "],\n\"anonymous_insns\": %" PRIu64 ", \"anonymous_pages\": %" PRIu64 ", \"huge_insns\": ",
	        anonymous_insns, anonymous_pages);
	results_write_numbers(out, huge_insns);
}

static bool has_begun(const struct vcpu *vcpu)
{
	return vcpu->core || vcpu->data;
}

static void begin(struct vcpu *vcpu)
{
	if (is_about_data)
		vcpu->data = data_core_new();
	else
		vcpu->core = core_new();
}

static void write_results(const char *why)
{
	struct counts counts = {0};
	struct data_counts data_counts = {0};
	unsigned threads = 0;
	uint64_t insns = 0;
	for (unsigned i = 0; i < VCPUS; i++) {
		if (!has_begun(&vcpus[i]))
			continue;
		threads++;
		insns += vcpus[i].simulated;
		if (is_about_data)
			data_add_counts(vcpus[i].data, &data_counts);
		else
			core_add_counts(vcpus[i].core, &counts);
	}
	FILE *out = fopen(out_path, "we");
	if (out) {
		fprintf(out, "{\"insns\": %" PRIu64 ", \"threads\": %u, \"ended_by\": \"%s\",\n", insns, threads, why);
		if (is_about_data)
			data_write(out, &data_counts);
		else
			results_write(out, &counts);
		write_objects(out);
		fputs("}\n", out);
	}
	if (!out || fclose(out) != 0)
		fprintf(stderr, "itlb: %s cannot be written\n", out_path);
	if (trace)
		fclose(trace);
}

/* Write the results, once; whoever comes later waits until they are written, for it will end the process. */
static void finish(const char *why)
{
	pthread_mutex_lock(&finishing);
	if (!finished && getpid() == process)
		write_results(why);
	finished = true;
	pthread_mutex_unlock(&finishing);
}

static void finish_and_end(const char *why)
{
	finish(why);
	_exit(0);
}

static void count_event(void)
{
	if (--events_left == 0)
		finish_and_end("events");
}

static void trace_page(unsigned vcpu, const struct code_page *page)
{
	unsigned number = 0;
	for (const struct object *object = pages_objects(); object; object = object->next, number++) {
		if (number < traced_objects)
			continue;
		trace_object(trace, object);
		traced_objects++;
	}
	if (page->object)
		trace_fetch(trace, vcpu, page->object, page->offset);
	else
		trace_anonymous(trace, vcpu, page->address);
}

/* Has the simulation begun? Asked once a batch and thread until it has. */
static bool begins(void)
{
	return begin_path ? access(begin_path, F_OK) == 0 : skipped >= skip;
}

static void end_batch(struct vcpu *vcpu)
{
	uint64_t insns = vcpu->batch;
	vcpu->batch = 0;
	if (!has_begun(vcpu)) {
		atomic_fetch_add(&skipped, insns);
		if (!begun && begins())
			begun = true;
	} else if (atomic_fetch_add(&simulated, insns) + insns >= limit) {
		finish_and_end("limit");
	}
}

static void fetch(unsigned index, struct core *core, struct code_page *page)
{
	core_fetch(core, page->keys);
	if (trace) {
		trace_page(index, page);
		count_event();
	}
}

static void on_block(unsigned index, void *data)
{
	const struct block *block = data;
	struct vcpu *vcpu = &vcpus[index % VCPUS];
	vcpu->batch += block->insns;
	if (vcpu->batch >= BATCH)
		end_batch(vcpu);
	if (!begun)
		return;
	if (!has_begun(vcpu))
		begin(vcpu);
	vcpu->simulated += block->insns;
	block->pages[0]->insns += block->insns;
	if (is_about_data)
		return;
	fetch(index, vcpu->core, block->pages[0]);
	if (block->pages[1])
		fetch(index, vcpu->core, block->pages[1]);
}

static void on_access(unsigned index, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
	(void)data;
	struct core *core = vcpus[index % VCPUS].core;
	if (vcpus[index % VCPUS].data)
		data_access(vcpus[index % VCPUS].data, address);
	if (!core)
		return;
	bool store = qemu_plugin_mem_is_store(info);
	core_data(core, address, store);
	if (trace) {
		trace_data(trace, index, address, store);
		count_event();
	}
}

/*
 * A block lies in one page, or is one instruction that lies in two: QEMU from 7.2 on ends a block before such an
 * instruction. It lists the instruction's bytes up to the page's end as the block's last all the same, so that it is
 * counted twice; fetches are right.
 */
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	struct block *block = calloc(1, sizeof *block);
	if (!block)
		return;
	block->insns = (unsigned)qemu_plugin_tb_n_insns(tb);
	for (unsigned i = 0; i < block->insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t first = qemu_plugin_insn_vaddr(insn);
		uint64_t last = first + qemu_plugin_insn_size(insn) - 1;
		uint64_t host = (uint64_t)(uintptr_t)qemu_plugin_insn_haddr(insn);
		if (i == 0)
			block->pages[0] = pages_get(first, host);
		if (first >> SMALL_PAGE_SHIFT != last >> SMALL_PAGE_SHIFT)
			block->pages[1] = pages_get(last, host + (last - first));
		qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
	}
	if (block->insns)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, int64_t result)
{
	(void)id;
	(void)vcpu;
	(void)result;
	if (number == calls->mmap || number == calls->munmap || number == calls->mremap)
		pages_forget_mappings();
}

static void on_exit_of_program(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	finish("exit");
}

/* One NAME=VALUE of the command line; false: not known. */
static bool take_argument(const char *argument)
{
	const char *value = strchr(argument, '=');
	size_t length = value ? (size_t)(value++ - argument) : 0;
	if (length == 7 && memcmp(argument, "program", length) == 0)
		program_path = value;
	else if (length == 3 && memcmp(argument, "out", length) == 0)
		out_path = value;
	else if (length == 4 && memcmp(argument, "skip", length) == 0)
		skip = strtoull(value, NULL, 10);
	else if (length == 5 && memcmp(argument, "limit", length) == 0)
		limit = strtoull(value, NULL, 10);
	else if (length == 5 && memcmp(argument, "begin", length) == 0)
		begin_path = value;
	else if (length == 4 && memcmp(argument, "root", length) == 0)
		root_path = value;
	else if (length == 5 && memcmp(argument, "trace", length) == 0)
		trace = fopen(value, "we");
	else if (length == 6 && memcmp(argument, "events", length) == 0)
		events_left = strtoull(value, NULL, 10);
	else if (length == 4 && memcmp(argument, "data", length) == 0)
		is_about_data = true;
	else
		return false;
	return true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info, int argc, char **argv)
{
	process = getpid();
	for (unsigned i = 0; i < sizeof map_calls / sizeof *map_calls; i++) {
		if (strcmp(info->target_name, map_calls[i].target) == 0)
			calls = &map_calls[i];
	}
	for (int i = 0; i < argc; i++) {
		char *copy = strdup(argv[i]);
		if (!copy || !take_argument(copy)) {
			fprintf(stderr, "itlb: %s: not known\n", argv[i]);
			return 1;
		}
	}
	if (!out_path || !calls) {
		fprintf(stderr, out_path ? "itlb: guests of this kind are not known\n" : "itlb: out=FILE is needed\n");
		return 1;
	}
	if (program_path)
		pages_begin(program_path, root_path);
	begun = !begin_path && skip == 0;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall);
	qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
	return 0;
}
