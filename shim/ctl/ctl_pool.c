/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl pool: reserve the huge pages that pool.conf asks for, and say what there is. hugexec-pool.service runs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/pool.h"

static const char help[] = "Usage: hugexecctl pool [OPTIONS] [FILE]\n"
                           "Reserve the hugetlb pages that FILE asks for, and say what the pool has then. A\n"
                           "pool that is already larger stays as it is. Without FILE it reads\n"
                           "" POOL_CONF ". A line asks for pages of one size:\n"
                           "  SIZE PAGES [node=NUMBER]        2M 512\n"
                           "\n"
                           "  --dry-run        say what would be reserved, change nothing\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 1 if there are fewer pages than asked for, or the file is wrong\n"
                           "or missing; 2 for wrong usage.\n";

static json_object *pool_to_json(const struct pool_request *request, uint64_t got, const struct error *err)
{
	char text[ERROR_TEXT_BYTES];
	json_object *json = json_object_new_object();
	json_object_object_add(json, "page_bytes", json_object_new_uint64(request->page_bytes));
	json_object_object_add(json, "node", request->node >= 0 ? json_object_new_int(request->node) : NULL);
	json_object_object_add(json, "asked_pages", json_object_new_uint64(request->pages));
	json_object_object_add(json, "pages", json_object_new_uint64(got));
	json_object_object_add(json, "reason", error_is_set(err) ? ctl_text(error_text(err, text, sizeof text)) : NULL);
	return json;
}

/* LIST: NULL for text. */
static int reserve(const struct pool_request *request, bool dry_run, json_object *list)
{
	char size[16], node[32] = "", text[ERROR_TEXT_BYTES];
	uint64_t got = 0;
	struct error err = {0};
	if (request->node >= 0)
		snprintf(node, sizeof node, " on node %d", request->node);
	size_format(request->page_bytes, size, sizeof size);
	int (*act)(const char *, const struct pool_request *, uint64_t *, struct error *) =
	    dry_run ? pool_look : pool_reserve;
	bool is_told = act("/sys", request, &got, &err) == 0;
	if (is_told && !dry_run && got < request->pages)
		error_set(&err, REASON_POOL_SIZE,
		          "%" PRIu64 " pages of %s%s could not be allocated: not enough contiguous memory; reserve "
		          "them soon after boot",
		          request->pages - got, size, node);
	if (list) {
		json_object_array_add(list, pool_to_json(request, got, &err));
	} else if (is_told) {
		printf("%s pages%s: %" PRIu64 ", asked for %" PRIu64, size, node, got, request->pages);
		if (dry_run && got < request->pages)
			printf(": %" PRIu64 " would be reserved", request->pages - got);
		putchar('\n');
	}
	if (error_is_set(&err))
		fprintf(stderr, "hugexecctl: %s\n", error_text(&err, text, sizeof text));
	return error_is_set(&err) ? CTL_NO : CTL_OK;
}

/* The file's text, to be freed; NULL with a message. */
static char *read_conf(const char *path, bool is_usual)
{
	char *text = NULL;
	if (read_file_at(AT_FDCWD, path, POOL_CONF_LIMIT, &text, NULL) == 0)
		return text;
	if (is_usual && errno == ENOENT)
		fputs("hugexecctl: there is no " POOL_CONF ", so no pages are asked for: write it, or name a FILE\n",
		      stderr);
	else
		fprintf(stderr, "hugexecctl: %s: %s\n", path, strerror(errno));
	return NULL;
}

int ctl_pool(int argc, char **argv)
{
	static const struct option known[] = {{"dry-run", no_argument, NULL, 'n'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct pool_request requests[POOL_REQUESTS_MAX];
	struct error err = {0};
	bool dry_run = false, json = false;
	for (int option; (option = ctl_option(argc, argv, "h", known)) != -1;) {
		switch (option) {
		case 'n': dry_run = true; break;
		case 'j': json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (argc - optind > 1)
		return ctl_wrong_usage(argv[0], "it takes one FILE");
	const char *path = optind < argc ? argv[optind] : POOL_CONF;
	cleanup_free char *text = read_conf(path, optind == argc);
	if (!text)
		return CTL_NO;
	int count = pool_parse(text, path, requests, &err), result = CTL_OK;
	if (count < 0) {
		fprintf(stderr, "hugexecctl: %s\n", err.detail);
		return CTL_NO;
	}
	json_object *list = json ? json_object_new_array() : NULL;
	for (int i = 0; i < count; i++) {
		if (reserve(&requests[i], dry_run, list) != CTL_OK)
			result = CTL_NO;
	}
	if (json) {
		json_object *document = json_object_new_object();
		json_object_object_add(document, "version", json_object_new_int(1));
		json_object_object_add(document, "pools", list);
		ctl_print_json(document);
	}
	return result;
}
