/*
 * hugexecctl pool: reserve the huge pages that pool.conf asks for, and say what there is. hugexec-pool.service runs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/pool.h"

static const char help[] =
    "Usage: hugexecctl pool [FILE]\n"
    "Reserve the hugetlb pages that FILE (" POOL_CONF ") asks for, a line each:\n"
    "  SIZE PAGES [node=NUMBER]        2M 512\n"
    "and say what the pool has then. A pool that is larger already stays as it is.\n"
    "\n"
    "Exit status: 0; 1 where there are fewer pages than asked for, or the file is wrong; 2 for wrong usage.\n";

static int reserve(const struct pool_request *request)
{
	char size[16], node[32] = "";
	uint64_t got = 0;
	struct error err = {0};
	if (request->node >= 0)
		snprintf(node, sizeof node, " on node %d", request->node);
	if (pool_reserve("/sys", request, &got, &err) < 0) {
		char text[sizeof err + 2];
		fprintf(stderr, "hugexecctl: %s\n", error_text(&err, text, sizeof text));
		return CTL_NO;
	}
	printf("%s pages%s: %" PRIu64 ", asked for %" PRIu64 "\n", size_format(request->page_bytes, size, sizeof size),
	       node, got, request->pages);
	if (got >= request->pages)
		return CTL_OK;
	fprintf(stderr, "hugexecctl: %" PRIu64 " pages of %s%s could not be had: memory is short or in pieces\n",
	        request->pages - got, size, node);
	return CTL_NO;
}

int ctl_pool(int argc, char **argv)
{
	static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct pool_request requests[POOL_REQUESTS_MAX];
	cleanup_free char *text = NULL;
	struct error err = {0};
	int option;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			return CTL_OK;
		}
		fputs("Try 'hugexecctl pool --help'.\n", stderr);
		return CTL_USAGE;
	}
	if (argc - optind > 1) {
		fputs("hugexecctl: pool takes one FILE\n", stderr);
		return CTL_USAGE;
	}
	const char *path = optind < argc ? argv[optind] : POOL_CONF;
	if (read_file_at(AT_FDCWD, path, POOL_CONF_LIMIT, &text, NULL) < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n", path, strerror(errno));
		return CTL_NO;
	}
	int count = pool_parse(text, path, requests, &err), result = CTL_OK;
	if (count < 0) {
		fprintf(stderr, "hugexecctl: %s\n", err.detail);
		return CTL_NO;
	}
	for (int i = 0; i < count; i++) {
		if (reserve(&requests[i]) != CTL_OK)
			result = CTL_NO;
	}
	return result;
}
