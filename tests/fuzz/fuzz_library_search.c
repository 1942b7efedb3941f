/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world of files of any bytes, in which the libraries of a program are searched: a few files, one of which each name
 * leads to.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/elf_arch.h"
#include "fuzzing.h"
#include "sandbox/elf/library_search.h"

#define FILES_MAX 8

struct world {
	int files[FILES_MAX];
	unsigned count, opened, found;
};

static int open_file(void *context, const char *path, bool is_folder, struct search_file *file)
{
	struct world *world = context;
	unsigned hash = 5381;
	MUST(path[0] == '/' && strlen(path) < SEARCH_PATH_MAX);
	MUST(world->opened++ < SEARCH_OPENS_MAX);
	for (const char *at = path; *at; at++)
		hash = hash * 33 + (unsigned char)*at;
	unsigned index = hash % (world->count + 2);
	if (index >= world->count)
		return index > world->count ? EREMOTE : ENOENT;
	if (is_folder)
		return 0;
	*file = (struct search_file){.fd = dup(world->files[index]), .device = 1, .inode = index + 1};
	MUST(file->fd >= 0 && lseek(file->fd, 0, SEEK_SET) == 0);
	return 0;
}

static void found(void *context, const struct elf_info *info, bool is_later, bool has_text_relocations)
{
	struct world *world = context;
	(void)is_later;
	(void)has_text_relocations;
	MUST(info->segment_count <= ELF_SEGMENTS_MAX);
	MUST(world->found++ < SEARCH_OBJECTS_MAX);
}

/* The files, each behind its size; the first is the program. */
static void make_files(struct input *input, struct world *world)
{
	while (world->count == 0 || (world->count < FILES_MAX && input->left > 2)) {
		size_t bytes = (size_t)input_byte(input) << 8;
		bytes |= input_byte(input);
		bytes = bytes < input->left ? bytes : input->left;
		int fd = memfd_create("fuzz", MFD_CLOEXEC);
		MUST(fd >= 0 && (bytes == 0 || write(fd, input->at, bytes) == (ssize_t)bytes));
		input->at += bytes;
		input->left -= bytes;
		world->files[world->count++] = fd;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct search_request request;
	struct input input = {data, size};
	struct world world = {.count = 0};
	struct search_result result;
	uint8_t flags = input_byte(&input);
	char *lines[5];
	for (int i = 0; i < 5; i++)
		lines[i] = input_line(&input);
	memset(&request, 0, sizeof request);
	snprintf(request.exe, sizeof request.exe, "%s", lines[0]);
	snprintf(request.folder, sizeof request.folder, "%s", lines[1]);
	snprintf(request.library_path, sizeof request.library_path, "%s", lines[2]);
	snprintf(request.preload, sizeof request.preload, "%s", lines[3]);
	request.is_secure = flags & 1;
	request.later_count = lines[4][0] ? 1 : 0;
	make_files(&input, &world);
	const struct search_world view = {open_file, found, &world};
	enum elf_answer_status status =
	    search_libraries(world.files[0], &request, &lines[4], flags >> 1 & 3, &view, &result);
	MUST(status <= ELF_ANSWER_ABSURD && result.found == world.found);
	MUST(strlen(result.first_unknown) < sizeof result.first_unknown);
	for (unsigned i = 0; i < world.count; i++)
		close(world.files[i]);
	for (int i = 0; i < 5; i++)
		free(lines[i]);
	return 0;
}
