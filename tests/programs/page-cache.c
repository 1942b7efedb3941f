/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page-cache - calls the page cache module on a file, for the tests, and prints what it says as one JSON line.
 *
 *   page-cache [--times=N] FILE TIMEOUT_MS [OFFSET BYTES]...
 *
 * Without ranges: all whole 2 MiB slots of the file. With --times the call is made N times, and the time of each is
 * told.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remap/page_cache.h"

#define RANGES_MAX 64
#define TIMES_MAX  1000

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static unsigned read_ranges(int argc, char **argv, uint64_t file_bytes, struct file_range *ranges)
{
	unsigned count = 0;
	for (int i = 0; i + 1 < argc && count < RANGES_MAX; i += 2)
		ranges[count++] = (struct file_range){strtoull(argv[i], NULL, 0), strtoull(argv[i + 1], NULL, 0)};
	if (argc == 0)
		ranges[count++] =
		    (struct file_range){0, file_bytes / host_pages()->huge_bytes * host_pages()->huge_bytes};
	return count;
}

/* What this process has open and mapped: the same before and after, or something leaks. */
static unsigned count_entries(const char *directory)
{
	unsigned count = 0;
	DIR *dir = opendir(directory);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static unsigned count_mappings(void)
{
	unsigned count = 0;
	int byte;
	FILE *maps = fopen("/proc/self/maps", "re");
	while (maps && (byte = fgetc(maps)) != EOF)
		count += byte == '\n';
	if (maps)
		fclose(maps);
	return count;
}

/* What this process and its children had read from disks; -1 where the kernel does not count. */
static int64_t read_bytes(void)
{
	char line[128];
	long long bytes = -1;
	FILE *io = fopen("/proc/self/io", "re");
	while (io && fgets(line, sizeof line, io)) {
		if (strncmp(line, "read_bytes:", 11) == 0)
			bytes = atoll(line + 11);
	}
	if (io)
		fclose(io);
	return bytes;
}

static json_object *text_or_null(const char *text)
{
	return *text ? json_object_new_string(text) : NULL;
}

int main(int argc, char **argv)
{
	unsigned times = 1;
	if (argc > 1 && strncmp(argv[1], "--times=", 8) == 0) {
		times = (unsigned)atoi(argv[1] + 8);
		argc--;
		argv++;
	}
	if (argc < 3 || times < 1 || times > TIMES_MAX) {
		fputs("usage: page-cache [--times=N] FILE TIMEOUT_MS [OFFSET BYTES]...\n", stderr);
		return 2;
	}
	struct stat st;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(argv[1]);
		return 2;
	}
	struct file_range ranges[RANGES_MAX];
	unsigned count = read_ranges(argc - 3, argv + 3, (uint64_t)st.st_size, ranges);
	struct error err = {0};
	uint64_t huge_bytes = 0;
	int result = 0;
	/* The first member of an object asks for random numbers, for which glibc 2.41 has a mapping. */
	json_object *json = json_object_new_object(), *took = json_object_new_array();
	json_object_object_add(json, "ms", took);
	unsigned open_before = count_entries("/proc/self/fd"), mapped_before = count_mappings();
	int64_t read_before = read_bytes();
	for (unsigned i = 0; i < times; i++) {
		err = (struct error){0};
		double start = now_ms();
		result = page_cache_make_huge(fd, ranges, count, (unsigned)atoi(argv[2]), &huge_bytes, &err);
		json_object_array_add(took, json_object_new_double(now_ms() - start));
	}
	json_object_object_add(json, "result", json_object_new_int(result));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(huge_bytes));
	json_object_object_add(json, "word", text_or_null(reason_word(err.code)));
	json_object_object_add(json, "detail", text_or_null(err.detail));
	json_object_object_add(json, "leaked_files",
	                       json_object_new_int((int)(count_entries("/proc/self/fd") - open_before)));
	json_object_object_add(json, "leaked_mappings", json_object_new_int((int)(count_mappings() - mapped_before)));
	json_object_object_add(json, "leaked_children",
	                       json_object_new_boolean(waitpid(-1, NULL, __WALL | WNOHANG) >= 0));
	json_object_object_add(json, "read_bytes", json_object_new_int64(read_bytes() - read_before));
	puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
	json_object_put(json);
	close(fd);
	return 0;
}
