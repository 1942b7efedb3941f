/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"

#define NODE_MAX  1023
#define TRIES_MAX 5
#define BLANKS    " \t\r"

struct place {
	const char *name;
	unsigned line;
};

static int complain(const struct place *place, struct error *err, const char *what, const char *word)
{
	return error_set(err, REASON_POOL_CONF, "%s:%u: %s%s%.60s", place->name, place->line, what, word ? ": " : "",
	                 word ? word : "");
}

static int parse_number(const char *word, uint64_t max, uint64_t *out)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(word, &end, 10);
	if (*word < '0' || *word > '9' || *end || errno || value > max)
		return -1;
	*out = value;
	return 0;
}

static int parse_line(const struct place *place, char *line, struct pool_request *out, struct error *err)
{
	char *rest = NULL;
	const char *size = strtok_r(line, BLANKS, &rest), *pages = strtok_r(NULL, BLANKS, &rest);
	const char *node = strtok_r(NULL, BLANKS, &rest), *more = strtok_r(NULL, BLANKS, &rest);
	uint64_t number = 0;
	*out = (struct pool_request){.node = -1};
	if (size_parse(size, &out->page_bytes) < 0 || out->page_bytes < 64 * KIB || out->page_bytes % KIB)
		return complain(place, err, "not the size of a huge page, such as 2M", size);
	if (!pages || parse_number(pages, POOL_PAGES_MAX, &out->pages) < 0)
		return complain(place, err, "expected the number of pages after the size", pages);
	if (node && (strncmp(node, "node=", 5) != 0 || parse_number(node + 5, NODE_MAX, &number) < 0))
		return complain(place, err, "expected node=NUMBER", node);
	if (more)
		return complain(place, err, "more words than SIZE PAGES node=NUMBER", more);
	if (node)
		out->node = (int)number;
	return 0;
}

/* A whole pool and one of its nodes would count the same pages twice: of a size it is the one or the other. */
static bool clashes(const struct pool_request *a, const struct pool_request *b)
{
	return a->page_bytes == b->page_bytes && (a->node == b->node || a->node < 0 || b->node < 0);
}

int pool_parse(const char *text, const char *name, struct pool_request requests[POOL_REQUESTS_MAX], struct error *err)
{
	struct place place = {.name = name, .line = 1};
	int count = 0;
	for (; *text; place.line++) {
		char line[256];
		size_t length = strcspn(text, "\n"), content = strcspn(text, "#\n");
		if (content >= sizeof line)
			return complain(&place, err, "the line is too long", NULL);
		snprintf(line, sizeof line, "%.*s", (int)content, text);
		text += length + (text[length] == '\n');
		if (line[strspn(line, BLANKS)] == '\0')
			continue;
		if (count == POOL_REQUESTS_MAX)
			return complain(&place, err, "too many lines", NULL);
		if (parse_line(&place, line, &requests[count], err) < 0)
			return -1;
		for (int i = 0; i < count; i++) {
			if (clashes(&requests[i], &requests[count]))
				return complain(&place, err, "an earlier line asks for the same pages; remove one",
				                NULL);
		}
		count++;
	}
	return count;
}

static int write_number(const char *path, uint64_t number)
{
	char text[24];
	int bytes = snprintf(text, sizeof text, "%" PRIu64, number);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	return fd < 0 ? -1 : write_all(fd, text, (size_t)bytes);
}

/* The folder of the whole host's pools, or of those of REQUEST's node. */
static void pools_folder(const char *sys, const struct pool_request *request, char path[PATH_MAX])
{
	if (request->node < 0)
		snprintf(path, PATH_MAX, "%s/kernel/mm", sys);
	else
		snprintf(path, PATH_MAX, "%s/devices/system/node/node%d", sys, request->node);
}

static void pool_path(const char *sys, const struct pool_request *request, char path[PATH_MAX])
{
	char folder[PATH_MAX];
	pools_folder(sys, request, folder);
	snprintf(path, PATH_MAX, "%.4000s/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages", folder,
	         request->page_bytes / KIB);
}

int pool_look(const char *sys, const struct pool_request *request, uint64_t *got, struct error *err)
{
	char path[PATH_MAX], folder[PATH_MAX], size[16];
	pool_path(sys, request, path);
	if (read_number_file(path, got) == 0)
		return 0;
	int saved_errno = errno;
	pools_folder(sys, request, folder);
	if (saved_errno == ENOENT && request->node >= 0 && access(folder, F_OK) < 0)
		return error_set(err, REASON_POOL_SIZE, "there is no NUMA node %d", request->node);
	size_format(request->page_bytes, size, sizeof size);
	if (saved_errno == ENOENT)
		return error_set(err, REASON_POOL_SIZE, "this kernel has no huge pages of %s", size);
	return error_set_errno(err, saved_errno, REASON_POOL_SIZE, "pages of %s: %.200s", size, path);
}

int pool_reserve(const char *sys, const struct pool_request *request, uint64_t *got, struct error *err)
{
	char path[PATH_MAX];
	pool_path(sys, request, path);
	if (pool_look(sys, request, got, err) < 0)
		return -1;
	/* The kernel takes what it finds and compacts memory meanwhile, so another try may find more. */
	for (int i = 0; i < TRIES_MAX && *got < request->pages; i++) {
		uint64_t before = *got;
		if (write_number(path, request->pages) < 0 || read_number_file(path, got) < 0)
			return error_set_errno(err, errno, REASON_POOL_REFUSED, "%s", path);
		if (*got <= before)
			break;
	}
	return 0;
}
