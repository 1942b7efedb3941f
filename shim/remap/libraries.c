/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/libraries.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/file_view.h"
#include "mm/mapped_file.h"
#include "remap/elf_object.h"
#include "remap/plan_estimate.h"
#include "remap/text_blocks.h"

#define PREPARED_MAX      48 /* libraries with large text; the report has room for 64 objects */
#define ENVIRON_BYTES_MAX (8 * MIB)
#define NAMES_MAX         16384 /* that are looked at for the policy's globs */

/* A library with slots of text that is wanted. */
struct prepared {
	char path[SEARCH_PATH_MAX];
	bool is_later;
	bool is_placed; /* the kernel gives it an address that agrees, by itself */
	uint64_t text_bytes, slot_bytes, huge_bytes;
	bool is_awaited; /* more can be had when it is mapped, and FILE says which it is */
	struct awaited_library file;
	struct error reason;
};

/* Shared with the child that does the work. */
struct preparation {
	bool has_ended;
	struct error reason; /* why not all libraries are known */
	bool is_cut;         /* there were more */
	unsigned count;
	struct prepared list[PREPARED_MAX];
};

/* What the child keeps of each. */
struct kept {
	int fd;
	struct elf_info elf;
	struct text_slots slots;
};

struct library_work {
	pid_t pid;
	bool is_secure;
	bool only_later; /* those that are loaded at start want a copy */
	const struct settings *settings;
	struct reader *reader;
	int64_t deadline_us;
	struct preparation *out;
	struct kept kept[PREPARED_MAX];
};

static bool is_listed(char *const *list, const char *path)
{
	for (; list && *list; list++) {
		if (policy_path_matches(*list, path))
			return true;
	}
	return false;
}

bool library_is_wanted(const struct settings *settings, const char *path, bool is_later)
{
	if (!settings->libraries || is_listed(settings->library_exclude, path))
		return false;
	return !settings->library_include || is_listed(settings->library_include, path) ||
	       (is_later && is_listed(settings->library_prepare, path));
}

/* Paths that globs lead to. */
struct later {
	char *list[SEARCH_LATER_MAX];
	uint32_t count;
};

static void add_later(void *context, const char *path)
{
	struct later *later = context;
	if (later->count < SEARCH_LATER_MAX && strlen(path) < SEARCH_PATH_MAX &&
	    (later->list[later->count] = strdup(path)))
		later->count++;
}

static int open_in_view(void *view, const char *path, bool is_folder)
{
	return file_view_open_file(view, path, is_folder);
}

/* Search as VIEW sees files. */
static int search(struct file_view *view, struct reader *reader, struct search_request *request,
                  const struct settings *settings,
                  void (*found)(void *context, const struct found_library *library, int fd), void *context,
                  struct error *err)
{
	const struct search_files files = {open_in_view, found, view, context};
	struct later later = {.count = 0};
	unsigned budget = NAMES_MAX;
	for (char *const *glob = settings->library_prepare; glob && *glob; glob++)
		file_view_glob(view, *glob, &budget, add_later, &later);
	request->later_count = later.count;
	int result = library_search_run(reader, request, later.list, &files, err);
	for (uint32_t i = 0; i < later.count; i++)
		free(later.list[i]);
	return result;
}

/* A link of PID's /proc as the process itself would read it; "" if it is outside of its root. */
static void read_link(pid_t pid, const char *name, const char *root, char path[SEARCH_PATH_MAX])
{
	char link[64];
	snprintf(link, sizeof link, "/proc/%d/%s", (int)pid, name);
	ssize_t got = readlink(link, path, SEARCH_PATH_MAX - 1);
	path[got > 0 ? got : 0] = '\0';
	size_t root_bytes = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (root_bytes == 0)
		return;
	if (strncmp(path, root, root_bytes) != 0 || (path[root_bytes] != '/' && path[root_bytes] != '\0'))
		path[0] = '\0';
	else
		memmove(path, path + root_bytes, strlen(path + root_bytes) + 1);
}

/* Copy the value of NAME from the COUNT bytes of ENVIRON, the last of several as ld.so does; false if it is too
 * long. */
static bool take_variable(const char *environment, size_t count, const char *name, char out[SEARCH_PATHS_MAX])
{
	size_t name_bytes = strlen(name);
	bool fits = true;
	for (size_t at = 0; at < count; at += strnlen(environment + at, count - at) + 1) {
		const char *entry = environment + at;
		if (strncmp(entry, name, name_bytes) == 0 && entry[name_bytes] == '=')
			fits = snprintf(out, SEARCH_PATHS_MAX, "%s", entry + name_bytes + 1) < SEARCH_PATHS_MAX;
	}
	return fits;
}

static int fill_request(const struct library_work *work, struct search_request *request, struct error *err)
{
	char path[64], root[SEARCH_PATH_MAX];
	cleanup_free char *environment = NULL;
	size_t bytes = 0;
	read_link(work->pid, "root", "/", root);
	read_link(work->pid, "exe", root, request->exe);
	read_link(work->pid, "cwd", root, request->folder);
	request->is_secure = work->is_secure;
	snprintf(path, sizeof path, "/proc/%d/environ", (int)work->pid);
	if (read_file_at(AT_FDCWD, path, ENVIRON_BYTES_MAX, &environment, &bytes) < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
	if (!take_variable(environment, bytes, "LD_LIBRARY_PATH", request->library_path) ||
	    !take_variable(environment, bytes, "LD_PRELOAD", request->preload))
		return error_set(err, REASON_LIBRARY_UNKNOWN, "LD_LIBRARY_PATH or LD_PRELOAD is longer than %d KiB",
		                 SEARCH_PATHS_MAX / 1024);
	return 0;
}

void library_judge(const struct settings *settings, const struct found_library *library, struct text_slots *out)
{
	char is[16], wanted[16];
	text_slots_of(library->info, true, host_pages()->huge_bytes, out);
	size_format(out->text_bytes, is, sizeof is);
	struct error no = {0};
	if (out->reason.code == REASON_NO_TEXT)
		return;
	if (!library_is_wanted(settings, library->path, library->is_later))
		error_set(&no, REASON_RULE_SKIP, "the policy leaves this library alone");
	else if (out->text_bytes < settings->min_text_bytes)
		error_set(&no, REASON_TEXT_SMALL, "%s of text, the policy asks for %s", is,
		          size_format(settings->min_text_bytes, wanted, sizeof wanted));
	else if (out->text_bytes > settings->max_text_bytes)
		error_set(&no, REASON_TEXT_LARGE, "%s of text, the policy allows %s", is,
		          size_format(settings->max_text_bytes, wanted, sizeof wanted));
	else if (library->has_text_relocations)
		error_set(&no, REASON_TEXT_CHANGED, "ld.so writes to its text (DT_TEXTREL)");
	if (!error_is_set(&no))
		return;
	out->reason = no;
	out->slot_bytes = out->count = 0;
}

bool library_has_work(const struct settings *settings, const struct text_slots *slots)
{
	if (slots->reason.code == REASON_NO_HUGE_SLOT)
		return settings->coverage == COVERAGE_FULL;
	return !is_nothing_to_do(&slots->reason) && slots->reason.code != REASON_RULE_SKIP;
}

/* Keep a library whose text is wanted, with its file; also if only a stop at the entry point could do something. */
static void on_found(void *context, const struct found_library *library, int fd)
{
	struct library_work *work = context;
	struct preparation *out = work->out;
	struct text_slots slots;
	cleanup_close int own_fd = fd;
	if (work->only_later && !library->is_later)
		return;
	library_judge(work->settings, library, &slots);
	if (!library_has_work(work->settings, &slots))
		return;
	if (out->count == PREPARED_MAX) {
		out->is_cut = true;
		return;
	}
	struct kept *kept = &work->kept[out->count];
	struct prepared *prepared = &out->list[out->count++];
	*kept = (struct kept){steal_fd(&own_fd), *library->info, slots};
	snprintf(prepared->path, sizeof prepared->path, "%s", library->path);
	prepared->is_later = library->is_later;
	prepared->text_bytes = slots.text_bytes;
	prepared->slot_bytes = slots.slot_bytes;
	prepared->reason = slots.reason;
}

/* glibc from 2.35 on reserves the place of such a library with a mapping of no file, which comes to stand anywhere. */
static bool is_placed_by_loader(const struct elf_info *elf)
{
	uint64_t align = 0;
	for (unsigned i = 0; i < elf->segment_count; i++)
		align = elf->segments[i].align > align ? elf->segments[i].align : align;
	return align > host_pages()->base_bytes && align % host_pages()->huge_bytes;
}

/* As ld.so maps it first: as a whole. Twice, because one of 512 addresses agrees by chance. */
bool library_is_placed(int fd, const struct elf_info *elf)
{
	if (is_placed_by_loader(elf))
		return false;
	const struct elf_segment *first = &elf->segments[0];
	const struct elf_segment *last = &elf->segments[elf->segment_count ? elf->segment_count - 1 : 0];
	uint64_t file_off = page_down(first->file_off, host_pages()->base_bytes);
	uint64_t bytes = last->vaddr > first->vaddr ? last->vaddr - first->vaddr + last->mem_bytes : first->mem_bytes;
	void *at[2];
	bool agrees = true;
	for (int i = 0; i < 2; i++) {
		at[i] = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)file_off);
		agrees &= at[i] != MAP_FAILED && ((uintptr_t)at[i] - file_off) % host_pages()->huge_bytes == 0;
	}
	for (int i = 0; i < 2; i++) {
		if (at[i] != MAP_FAILED)
			munmap(at[i], bytes);
	}
	return agrees;
}

static unsigned time_left_ms(const struct library_work *work)
{
	int64_t left_ms = (work->deadline_us - now_us()) / 1000;
	return left_ms > 0 ? (unsigned)left_ms : 0;
}

/*
 * The slots at the ends of the text come in place only by a tracer, at the entry point or later by attach. It can do so
 * without a copy if they are huge before ld.so touches them: what is mapped small stays so.
 */
static void prepare_ends(const struct library_work *work, const struct kept *kept)
{
	struct text_slots rounded;
	struct error ignored = {0};
	uint64_t ignored_bytes;
	if (work->settings->coverage != COVERAGE_FULL || elf_phase(&kept->elf, host_pages()))
		return;
	text_slots_rounded(&kept->elf, host_pages(), &rounded);
	if (rounded.slot_bytes > kept->slots.slot_bytes)
		page_cache_make_huge_here(kept->fd, rounded.ranges, rounded.count, time_left_ms(work), &ignored_bytes,
		                          &ignored);
}

/* Where ELF's relocation data lies in the file, which ld.so makes read-only in the end. */
static void note_relro(const struct elf_info *elf, struct awaited_library *out)
{
	for (unsigned i = 0; i < elf->segment_count && elf->relro_bytes; i++) {
		const struct elf_segment *segment = &elf->segments[i];
		if (elf->relro_vaddr < segment->vaddr || elf->relro_vaddr - segment->vaddr >= segment->file_bytes)
			continue;
		out->has_relro = true;
		out->relro_file_off = segment->file_off + (elf->relro_vaddr - segment->vaddr);
		return;
	}
}

/*
 * Of a library that the program loads later, and that will be in place but for the ends of its text: which file it is,
 * so that it can be told when it is mapped.
 */
static void note_awaited(const struct library_work *work, const struct kept *kept, struct prepared *prepared)
{
	struct mapping file;
	struct error ignored;
	if (!prepared->is_later || work->settings->coverage != COVERAGE_FULL ||
	    work->settings->backing[0] != BACKING_FILE || !prepared->is_placed ||
	    prepared->huge_bytes < prepared->slot_bytes || prepared->slot_bytes >= prepared->text_bytes ||
	    mapped_file_identify(kept->fd, &file, &ignored) < 0)
		return;
	struct awaited_library *out = &prepared->file;
	snprintf(out->path, sizeof out->path, "%s", prepared->path);
	out->dev_major = file.dev_major;
	out->dev_minor = file.dev_minor;
	out->inode = file.inode;
	note_relro(&kept->elf, out);
	prepared->is_awaited = true;
}

static void prepare(const struct library_work *work, const struct kept *kept, struct prepared *prepared)
{
	if (kept->slots.count == 0)
		return;
	page_cache_make_huge_here(kept->fd, kept->slots.ranges, kept->slots.count, time_left_ms(work),
	                          &prepared->huge_bytes, &prepared->reason);
	prepare_ends(work, kept);
	prepared->is_placed = library_is_placed(kept->fd, &kept->elf);
	if (!prepared->is_placed && !error_is_set(&prepared->reason))
		error_set(&prepared->reason, REASON_FILE_MISALIGNED,
		          "the kernel maps it at any address: offset and address differ modulo a huge page, unless "
		          "ld.so aligns it");
	note_awaited(work, kept, prepared);
}

/* The child. It is a copy of the tracer that looks at files; see base/aside.h. */
static int do_work(void *context)
{
	static struct search_request request;
	struct library_work *work = context;
	struct preparation *out = work->out;
	struct file_view view;
	aside_die_with_caller();
	if (file_view_open(&view, work->pid, &out->reason) == 0 && fill_request(work, &request, &out->reason) == 0)
		search(&view, work->reader, &request, work->settings, on_found, work, &out->reason);
	for (unsigned i = 0; i < out->count; i++)
		prepare(work, &work->kept[i], &out->list[i]);
	out->has_ended = true;
	return 0;
}

/* What is left for those that are loaded at start. */
static enum libraries_need need_of(const struct preparation *out, bool wants_all)
{
	enum libraries_need need = LIBRARIES_NEED_NOTHING;
	if (!out->has_ended || error_is_set(&out->reason) || out->is_cut)
		return LIBRARIES_NEED_STOP;
	for (unsigned i = 0; i < out->count; i++) {
		const struct prepared *prepared = &out->list[i];
		if (prepared->is_later)
			continue;
		if (prepared->slot_bytes == 0 || prepared->huge_bytes < prepared->slot_bytes)
			return LIBRARIES_NEED_STOP;
		if (wants_all && prepared->slot_bytes < prepared->text_bytes)
			return LIBRARIES_NEED_STOP;
		if (!prepared->is_placed)
			need = LIBRARIES_NEED_ADDRESSES;
	}
	return need;
}

static void add_to_report(const struct preparation *out, bool only_later, struct report *report,
                          struct awaited_libraries *awaited)
{
	for (unsigned i = 0; i < out->count && i < PREPARED_MAX; i++) {
		const struct prepared *prepared = &out->list[i];
		struct report_object *object = prepared->is_later || !only_later ? report_add_object(report) : NULL;
		if (!object)
			continue;
		uint64_t huge_bytes = prepared->is_placed ? prepared->huge_bytes : 0;
		*object = (struct report_object){.backing = BACKING_FILE,
		                                 .text_bytes = prepared->text_bytes,
		                                 .prepared_bytes = huge_bytes,
		                                 .reason = prepared->reason};
		memcpy(object->path, prepared->path, sizeof object->path);
		if (!out->has_ended && huge_bytes < prepared->slot_bytes && !error_is_set(&object->reason))
			error_set(&object->reason, REASON_FILE_TIMEOUT, "there was no time left to prepare it");
		report->prepared_bytes += object->prepared_bytes;
		if (prepared->is_awaited && awaited && awaited->count < AWAITED_MAX)
			awaited->list[awaited->count++] = prepared->file;
	}
}

static void run(struct library_work *work, int exe_fd, int timeout_ms)
{
	struct reader reader;
	struct error *reason = &work->out->reason;
	if (library_search_start(&reader, exe_fd, reason) < 0)
		return;
	work->reader = &reader;
	work->deadline_us = now_us() + (int64_t)timeout_ms * 1000;
	if (aside(do_work, work, timeout_ms, -1) < 0 && errno == EAGAIN)
		error_set(reason, REASON_PROCESS_LIMIT, "no process to prepare the libraries");
	reader_end(&reader);
}

static bool uses_file(const struct settings *settings)
{
	for (unsigned i = 0; i < settings->backing_count; i++) {
		if (settings->backing[i] == BACKING_FILE)
			return true;
	}
	return false;
}

enum libraries_need libraries_prepare(const struct tracee *tracee, const struct settings *settings,
                                      struct report *report, struct awaited_libraries *awaited)
{
	bool only_later = settings->backing[0] != BACKING_FILE;
	if (!settings->libraries || tracee_auxv(tracee, AT_BASE) == 0)
		return LIBRARIES_NEED_NOTHING;
	if (only_later && (!settings->library_prepare || !uses_file(settings)))
		return LIBRARIES_NEED_STOP;
	if (mapped_file_exe_is_remote(tracee->pid)) /* it names them, and is opened here */
		return LIBRARIES_NEED_STOP;
	struct preparation *out =
	    mmap(NULL, sizeof *out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct library_work *work = NULL;
	char exe[64];
	snprintf(exe, sizeof exe, "/proc/%d/exe", (int)tracee->pid);
	cleanup_close int exe_fd = open(exe, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum libraries_need need = LIBRARIES_NEED_STOP;
	if (out != MAP_FAILED && exe_fd >= 0 && (work = calloc(1, sizeof *work))) {
		*work = (struct library_work){.pid = tracee->pid,
		                              .is_secure = tracee_auxv(tracee, AT_SECURE) != 0,
		                              .only_later = only_later,
		                              .settings = settings,
		                              .out = out};
		run(work, exe_fd, tracee_time_left_ms(tracee, (int)settings->file_timeout_ms));
		fault_point("libraries-prepared");
		need = only_later ? LIBRARIES_NEED_STOP : need_of(out, settings->coverage == COVERAGE_FULL);
		add_to_report(out, need != LIBRARIES_NEED_NOTHING, report, awaited);
	}
	free(work);
	if (out != MAP_FAILED)
		munmap(out, sizeof *out);
	return need;
}

int libraries_find(const char *exe, const struct settings *settings, bool with_environment,
                   void (*found)(void *context, const struct found_library *library, int fd), void *context,
                   struct error *err)
{
	struct reader reader;
	struct file_view view;
	cleanup_free struct search_request *request = NULL;
	cleanup_close int exe_fd = open(exe, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (exe_fd < 0 || !(request = calloc(1, sizeof *request)))
		return error_set_errno(err, errno, REASON_TEXT_UNREADABLE, "%s", exe);
	snprintf(request->exe, sizeof request->exe, "%s", exe);
	if (!getcwd(request->folder, sizeof request->folder))
		request->folder[0] = '\0';
	const char *library_path = with_environment ? getenv("LD_LIBRARY_PATH") : NULL;
	const char *preload = with_environment ? getenv("LD_PRELOAD") : NULL;
	snprintf(request->library_path, sizeof request->library_path, "%s", library_path ? library_path : "");
	snprintf(request->preload, sizeof request->preload, "%s", preload ? preload : "");
	if (file_view_open(&view, 0, err) < 0 || library_search_start(&reader, exe_fd, err) < 0) {
		file_view_close(&view);
		return -1;
	}
	int result = search(&view, &reader, request, settings, found, context, err);
	reader_end(&reader);
	file_view_close(&view);
	return result;
}
