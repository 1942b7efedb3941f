/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/warm_policy.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "ctl/unit_compose.h"
#include "host/pages.h"
#include "mm/file_view.h"
#include "remap/libraries.h"

#define NAMES_MAX       200000 /* looked at for patterns */
#define FILES_MAX       8192   /* prepared */
#define READ_TIMEOUT_MS 5000

struct warming {
	const struct policy *policy;
	struct file_view view;
	unsigned budget;
	const struct settings *settings; /* of the rule at hand */
	bool found_program;              /* one of the rule at hand */
	struct {
		dev_t device;
		ino_t inode;
	} seen[FILES_MAX];
	unsigned seen_count;
	warm_file_found *each;
	void *context;
};

/* Whether the file open at FD comes for the first time, and is noted. */
static bool is_new(struct warming *warming, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || warming->seen_count == FILES_MAX)
		return false;
	for (unsigned i = 0; i < warming->seen_count; i++) {
		if (warming->seen[i].inode == st.st_ino && warming->seen[i].device == st.st_dev)
			return false;
	}
	warming->seen[warming->seen_count].device = st.st_dev;
	warming->seen[warming->seen_count++].inode = st.st_ino;
	return true;
}

static bool wants_all(const struct warming *warming)
{
	return warming->settings->coverage == COVERAGE_FULL;
}

static void on_library(void *context, const struct found_library *library, int fd)
{
	struct warming *warming = context;
	struct text_slots slots;
	cleanup_close int own_fd = fd;
	library_judge(warming->settings, library, &slots);
	if (slots.count > 0 && is_new(warming, own_fd))
		warming->each(warming->context, library->path, false, wants_all(warming));
}

/* Whether the file is a program or library that the rule's sizes allow, with whole slots of text. */
static bool has_wanted_text(const struct warming *warming, int fd)
{
	struct reader reader;
	struct elf_info elf;
	struct text_slots slots;
	if (elf_reader_start(&reader, fd, NULL) < 0 || elf_reader_finish(&reader, READ_TIMEOUT_MS, &elf, NULL) < 0)
		return false;
	text_slots_rounded(&elf, host_pages(), &slots);
	return slots.count > 0 && slots.text_bytes >= warming->settings->min_text_bytes &&
	       slots.text_bytes <= warming->settings->max_text_bytes;
}

static bool is_elf(int fd)
{
	char magic[4];
	return pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0;
}

static void add_file(struct warming *warming, const char *path, bool with_rodata)
{
	struct stat st;
	cleanup_close int fd = file_view_open_file(&warming->view, path, false);
	bool is_large = fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)host_pages()->huge_bytes;
	if (is_large && is_elf(fd) && has_wanted_text(warming, fd) && is_new(warming, fd))
		warming->each(warming->context, path, with_rodata, wants_all(warming));
}

/* A file to be prepared that a pattern has led to. */
static void on_file(void *context, const char *path)
{
	add_file(context, path, false);
}

/* A program that a rule names; EXE may be a pattern's match. */
static void on_program(void *context, const char *exe)
{
	struct warming *warming = context;
	struct stat st;
	cleanup_close int fd = file_view_open_file(&warming->view, exe, false);
	if (fd < 0 || fstat(fd, &st) < 0 || !(st.st_mode & 0111) || !is_elf(fd) ||
	    policy_skips_exe(warming->policy, exe))
		return;
	warming->found_program = true;
	add_file(warming, exe, warming->settings->rodata);
	if (warming->settings->libraries)
		libraries_find(exe, warming->settings, false, on_library, warming, NULL);
}

static void on_named_program(struct warming *warming, const char *exe)
{
	cleanup_close int fd = file_view_open_file(&warming->view, exe, false);
	if (fd < 0 || is_new(warming, fd))
		warming->each(warming->context, exe, warming->settings->rodata, false);
	on_program(warming, exe);
}

static void on_rule(void *context, const char *const *exe, const struct settings *settings)
{
	struct warming *warming = context;
	warming->settings = settings;
	warming->found_program = false;
	for (; exe && *exe; exe++) {
		if (strpbrk(*exe, "*?[\\"))
			file_view_glob(&warming->view, *exe, &warming->budget, on_program, warming);
		else
			on_named_program(warming, *exe);
	}
	for (char *const *glob = settings->library_prepare; glob && *glob && !warming->found_program; glob++)
		file_view_glob(&warming->view, *glob, &warming->budget, on_file, warming);
}

/* The program behind " -- " in a drop-in of hugexec-generator's, if it is written without quotes. */
static char *program_of(const char *text)
{
	static const char before[] = " -- ";
	const char *line = strstr(text, "\nExecStart=/");
	const char *words = line ? strstr(line, before) : NULL;
	if (!words || memchr(line + 1, '\n', (size_t)(words - line - 1)))
		return NULL;
	words += sizeof before - 1;
	size_t bytes = strcspn(words, " \n");
	return words[0] == '/' && strcspn(words, "\"'\\%$") >= bytes ? strndup(words, bytes) : NULL;
}

static void on_unit(struct warming *warming, const char *units, const char *unit)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s.d/" UNIT_DROP_IN_NAME, units, unit);
	if (read_file_at(AT_FDCWD, path, MIB, &text, NULL) < 0)
		return;
	cleanup_free char *exe = program_of(text);
	const struct match_input input = {.via = VIA_SHIM, .exe = exe, .unit = unit};
	struct decision decision;
	if (!exe)
		return;
	policy_decide(warming->policy, &input, &decision);
	warming->settings = &decision.settings;
	if (decision.action == ACTION_REMAP)
		on_program(warming, exe);
}

static void on_units(struct warming *warming, const char *units)
{
	static const char suffix[] = ".service.d";
	cleanup_closedir DIR *folder = opendir(units);
	for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
		size_t length = strlen(entry->d_name);
		if (length <= sizeof suffix - 1 || strcmp(entry->d_name + length - (sizeof suffix - 1), suffix) != 0)
			continue;
		entry->d_name[length - 2] = '\0';
		on_unit(warming, units, entry->d_name);
	}
}

void warm_policy(const struct policy *policy, const char *units, warm_file_found *each, void *context)
{
	cleanup_free struct warming *warming = calloc(1, sizeof *warming);
	if (!warming || file_view_open(&warming->view, 0, NULL) < 0)
		return;
	warming->policy = policy;
	warming->budget = NAMES_MAX;
	warming->each = each;
	warming->context = context;
	policy_each_file_rule(policy, on_rule, warming);
	if (units)
		on_units(warming, units);
	file_view_close(&warming->view);
}
