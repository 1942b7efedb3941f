/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.conf, and reserving what it asks for in a folder that looks like sysfs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/size.h"
#include "ctl/pool.h"

static struct pool_request requests[POOL_REQUESTS_MAX];

static void parses(void **state)
{
	(void)state;
	assert_int_equal(pool_parse("", "f", requests, NULL), 0);
	assert_int_equal(pool_parse("# all\n\n 2M\t512 # a gigabyte\n1G 4 node=1\n1G 2 node=0", "f", requests, NULL),
	                 3);
	assert_int_equal(requests[0].page_bytes, 2 * MIB);
	assert_int_equal(requests[0].pages, 512);
	assert_int_equal(requests[0].node, -1);
	assert_int_equal(requests[1].page_bytes, GIB);
	assert_int_equal(requests[1].pages, 4);
	assert_int_equal(requests[1].node, 1);
	assert_int_equal(requests[2].node, 0);
}

static void refuses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *detail;
	} cases[] = {
	    {"2M\n", "f:1: expected the number of pages after the size"},
	    {"\n2 512\n", "f:2: not the size of a huge page, such as 2M: 2"},
	    {"2X 512", "f:1: not the size of a huge page, such as 2M: 2X"},
	    {"2M -1", "f:1: expected the number of pages after the size: -1"},
	    {"2M 1e3", "f:1: expected the number of pages after the size: 1e3"},
	    {"2M 99999999999999999999", "f:1: expected the number of pages after the size: 99999999999999999999"},
	    {"2M 1 node=x", "f:1: expected node=NUMBER: node=x"},
	    {"2M 1 node=5000", "f:1: expected node=NUMBER: node=5000"},
	    {"2M 1 0", "f:1: expected node=NUMBER: 0"},
	    {"2M 1 node=0 x", "f:1: more words than SIZE PAGES node=NUMBER: x"},
	    {"2M 1\n2M 2", "f:2: an earlier line asks for the same pages; remove one"},
	    {"2M 1\n2048K 2 node=1", "f:2: an earlier line asks for the same pages; remove one"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = {0};
		assert_int_equal(pool_parse(cases[i].text, "f", requests, &err), -1);
		assert_string_equal(reason_word(err.code), "pool-conf");
		assert_string_equal(err.detail, cases[i].detail);
	}
	char many[POOL_REQUESTS_MAX * 24] = "", *end = many;
	for (int i = 0; i <= POOL_REQUESTS_MAX; i++)
		end += sprintf(end, "2M 1 node=%d\n", i);
	struct error err = {0};
	assert_int_equal(pool_parse(many, "f", requests, &err), -1);
	assert_string_equal(err.detail, "f:257: too many lines");
}

static char folder[] = "/tmp/hugexec-pool-XXXXXX";

static void in_folder(char *path, size_t bytes, const char *name)
{
	snprintf(path, bytes, "%s/%s", folder, name);
}

static int make_sysfs(void **state)
{
	(void)state;
	static const char *const folders[] = {"kernel", "kernel/mm", "kernel/mm/hugepages",
	                                      "kernel/mm/hugepages/hugepages-2048kB"};
	char path[256];
	if (!mkdtemp(folder))
		return -1;
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		in_folder(path, sizeof path, folders[i]);
		if (mkdir(path, 0755) < 0)
			return -1;
	}
	in_folder(path, sizeof path, "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	FILE *file = fopen(path, "w");
	return file && fputs("7\n", file) >= 0 && fclose(file) == 0 ? 0 : -1;
}

static int remove_sysfs(void **state)
{
	(void)state;
	static const char *const names[] = {"kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
	                                    "kernel/mm/hugepages/hugepages-2048kB",
	                                    "kernel/mm/hugepages",
	                                    "kernel/mm",
	                                    "kernel",
	                                    ""};
	char path[256];
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		in_folder(path, sizeof path, names[i]);
		if (remove(path) < 0)
			return -1;
	}
	return 0;
}

static void reserves(void **state)
{
	(void)state;
	uint64_t got = 0;
	struct error err = {0};
	struct pool_request request = {.page_bytes = 2 * MIB, .pages = 5, .node = -1};
	assert_int_equal(pool_reserve(folder, &request, &got, &err), 0);
	assert_int_equal(got, 7); /* it had more */
	request.pages = 12;
	assert_int_equal(pool_reserve(folder, &request, &got, &err), 0);
	assert_int_equal(got, 12);
	request.node = 0;
	assert_int_equal(pool_reserve(folder, &request, &got, &err), -1);
	assert_string_equal(reason_word(err.code), "pool-size");
	request = (struct pool_request){.page_bytes = GIB, .pages = 1, .node = -1};
	assert_int_equal(pool_reserve(folder, &request, &got, &err), -1);
	assert_string_equal(reason_word(err.code), "pool-size");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parses),
	    cmocka_unit_test(refuses),
	    cmocka_unit_test_setup_teardown(reserves, make_sysfs, remove_sysfs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
