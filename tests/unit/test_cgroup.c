/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroup places and headroom, from texts and folders such as v1, v2 and hybrid hosts and containers have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/cgroup.h"
#include "host/host.h"

#define MIB (UINT64_C(1) << 20)

#define V2_MOUNT "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                              \
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n" \
	"35 31 0:32 / /sys/fs/cgroup/memory rw shared:4 - cgroup cgroup rw,memory\n"           \
	"41 31 0:38 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n"

static void finds_v2(void **state)
{
	(void)state;
	struct cgroup_place place;
	assert_int_equal(cgroup_find_in("0::/system.slice/a b.service\n", V2_MOUNT, "memory", &place), 0);
	assert_true(place.unified);
	assert_string_equal(place.directory, "/sys/fs/cgroup/system.slice/a b.service");
	assert_string_equal(place.mount, "/sys/fs/cgroup");
	assert_int_equal(cgroup_find_in("0::/\n", V2_MOUNT, "memory", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup");
}

static void sees_that_hugetlb_pages_count_as_memory(void **state)
{
	(void)state;
	struct cgroup_place place;
	const char *mount =
	    "30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_hugetlb_accounting\n";
	assert_int_equal(cgroup_find_in("0::/x\n", mount, "memory", &place), 0);
	assert_true(place.counts_hugetlb);
	assert_int_equal(cgroup_find_in("0::/x\n", V2_MOUNT, "memory", &place), 0);
	assert_false(place.counts_hugetlb);
	/* The last mount is the one that is seen; and what a v1 controller counts is not asked there. */
	mount = "30 23 0:27 / /old rw - cgroup2 cgroup2 rw,memory_hugetlb_accounting\n" V1_MOUNTS;
	assert_int_equal(cgroup_find_in("4:memory:/a\n0::/x\n", mount, "memory", &place), 0);
	assert_false(place.counts_hugetlb);
}

static void finds_each_controller_of_a_hybrid_host(void **state)
{
	(void)state;
	struct cgroup_place place;
	const char *cgroup = "4:memory:/box:1\n2:cpu,cpuacct:/other\n1:name=systemd:/s\n0::/unified/one\n";
	assert_int_equal(cgroup_find_in(cgroup, V1_MOUNTS, "memory", &place), 0);
	assert_false(place.unified);
	assert_string_equal(place.directory, "/sys/fs/cgroup/memory/box:1");
	assert_int_equal(cgroup_find_in(cgroup, V1_MOUNTS, "cpuacct", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup/cpu,cpuacct/other");
	/* No v1 tree has it: the unified one does. */
	assert_int_equal(cgroup_find_in(cgroup, V1_MOUNTS, "hugetlb", &place), 0);
	assert_true(place.unified);
	assert_string_equal(place.directory, "/sys/fs/cgroup/unified/unified/one");
}

static void finds_itself_in_a_container(void **state)
{
	(void)state;
	struct cgroup_place place;
	/* Docker without a cgroup namespace: the mount shows the container's part only. */
	const char *mount = "50 49 0:32 /docker/abc /sys/fs/cgroup/memory ro master:4 - cgroup cgroup rw,memory\n";
	assert_int_equal(cgroup_find_in("4:memory:/docker/abc\n", mount, "memory", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup/memory");
	assert_int_equal(cgroup_find_in("4:memory:/docker/abc/sub\n", mount, "memory", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup/memory/sub");
	assert_int_equal(cgroup_find_in("4:memory:/docker/abcdef\n", mount, "memory", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup/memory");
	/* A process outside of our cgroup namespace. */
	assert_int_equal(cgroup_find_in("0::/../other\n", V2_MOUNT, "memory", &place), 0);
	assert_string_equal(place.directory, "/sys/fs/cgroup");
}

static void undoes_escapes_in_mount_points(void **state)
{
	(void)state;
	struct cgroup_place place;
	const char *mount = "30 23 0:27 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n";
	assert_int_equal(cgroup_find_in("0::/x\n", mount, "memory", &place), 0);
	assert_string_equal(place.directory, "/mnt/a b/x");
}

static void finds_nothing_in_nonsense(void **state)
{
	(void)state;
	static const char *const cgroups[] = {"", "\n", "0:\n", "::\n", "garbage", "0::/x\n"};
	static const char *const mounts[] = {"", "\n", " - cgroup2", "1 2 3 - cgroup2\n",
	                                     "a b c / /m - cgroup cgroup rw\n"};
	struct cgroup_place place;
	for (size_t i = 0; i < 6; i++) {
		for (size_t j = 0; j < 5; j++)
			assert_int_equal(cgroup_find_in(cgroups[i], mounts[j], "memory", &place), -1);
	}
}

static char folder[64];

static void put(const char *path, const char *text)
{
	char full[256];
	snprintf(full, sizeof full, "%s/%s", folder, path);
	FILE *file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int make_folder(void **state)
{
	(void)state;
	char path[128];
	snprintf(folder, sizeof folder, "/tmp/hugexec-test-cgroup-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/slice", folder);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/slice/unit", folder);
	return mkdir(path, 0755);
}

static int remove_folder(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static struct cgroup_place unit_place(bool unified)
{
	struct cgroup_place place = {.unified = unified};
	snprintf(place.mount, sizeof place.mount, "%s", folder);
	snprintf(place.directory, sizeof place.directory, "%s/slice/unit", folder);
	return place;
}

static void v2_memory_counts_droppable_cache_as_free(void **state)
{
	(void)state;
	struct cgroup_place place = unit_place(true);
	assert_true(cgroup_memory_headroom(&place) == UINT64_MAX);
	put("slice/unit/memory.max", "max\n");
	put("slice/unit/memory.current", "1000\n");
	assert_true(cgroup_memory_headroom(&place) == UINT64_MAX);
	put("slice/unit/memory.max", "104857600\n");    /* 100 MiB */
	put("slice/unit/memory.current", "94371840\n"); /* 90 MiB, 30 of it cache */
	put("slice/unit/memory.stat", "anon 5\ninactive_file 20971520\nactive_file 10485760\nactive_file_x 7\n");
	assert_int_equal(cgroup_memory_headroom(&place), 40 * MIB);
	/* More used than allowed (the limit was lowered): nothing left, not a huge number. */
	put("slice/unit/memory.stat", "");
	put("slice/unit/memory.current", "209715200\n");
	assert_int_equal(cgroup_memory_headroom(&place), 0);
}

static void the_narrowest_ancestor_counts(void **state)
{
	(void)state;
	struct cgroup_place place = unit_place(true);
	put("slice/unit/memory.max", "104857600\n");
	put("slice/unit/memory.current", "0\n");
	put("slice/memory.max", "52428800\n");
	put("slice/memory.current", "41943040\n");
	assert_int_equal(cgroup_memory_headroom(&place), 10 * MIB);
	put("memory.max", "3145728\n"); /* the mount itself, as in a container */
	put("memory.current", "0\n");
	assert_int_equal(cgroup_memory_headroom(&place), 3 * MIB);
}

static void v1_memory(void **state)
{
	(void)state;
	struct cgroup_place place = unit_place(false);
	put("slice/unit/memory.limit_in_bytes", "9223372036854771712\n"); /* how v1 says "none" */
	put("slice/unit/memory.usage_in_bytes", "1048576\n");
	assert_true(cgroup_memory_headroom(&place) == UINT64_MAX);
	put("slice/unit/memory.limit_in_bytes", "10485760\n");
	put("slice/unit/memory.stat", "cache 1\ntotal_inactive_file 524288\ntotal_active_file 0\n");
	assert_int_equal(cgroup_memory_headroom(&place), 9 * MIB + MIB / 2);
}

static void hugetlb_limits_of_pages_and_reservations(void **state)
{
	(void)state;
	struct cgroup_place place = unit_place(true);
	put("slice/unit/hugetlb.2MB.max", "20971520\n");
	put("slice/unit/hugetlb.2MB.current", "4194304\n");
	assert_int_equal(cgroup_hugetlb_headroom(&place, 2 * MIB), 16 * MIB);
	put("slice/unit/hugetlb.2MB.rsvd.max", "6291456\n");
	put("slice/unit/hugetlb.2MB.rsvd.current", "0\n");
	assert_int_equal(cgroup_hugetlb_headroom(&place, 2 * MIB), 6 * MIB);
	put("slice/hugetlb.2MB.max", "0\n");
	put("slice/hugetlb.2MB.current", "0\n");
	assert_int_equal(cgroup_hugetlb_headroom(&place, 2 * MIB), 0);
	assert_true(cgroup_hugetlb_headroom(&place, 1024 * MIB) == UINT64_MAX);
	place.unified = false;
	put("slice/unit/hugetlb.1GB.limit_in_bytes", "2147483648\n");
	put("slice/unit/hugetlb.1GB.usage_in_bytes", "1073741824\n");
	assert_int_equal(cgroup_hugetlb_headroom(&place, 1024 * MIB), 1024 * MIB);
}

static void reads_this_host(void **state)
{
	(void)state;
	uint64_t bytes = 0;
	assert_int_equal(host_memory_headroom(getpid(), &bytes), 0);
	assert_true(bytes > 0);
	assert_int_equal(host_hugetlb_headroom(getpid(), 2 * MIB, &bytes), 0);
	/* A process that there is not. */
	assert_int_equal(host_memory_headroom(0x7ffffff0, &bytes), 0);
	assert_true(bytes == UINT64_MAX);
	assert_null(host_cgroup_of(0x7ffffff0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_v2),
	    cmocka_unit_test(sees_that_hugetlb_pages_count_as_memory),
	    cmocka_unit_test(finds_each_controller_of_a_hybrid_host),
	    cmocka_unit_test(finds_itself_in_a_container),
	    cmocka_unit_test(undoes_escapes_in_mount_points),
	    cmocka_unit_test(finds_nothing_in_nonsense),
	    cmocka_unit_test_setup_teardown(v2_memory_counts_droppable_cache_as_free, make_folder, remove_folder),
	    cmocka_unit_test_setup_teardown(the_narrowest_ancestor_counts, make_folder, remove_folder),
	    cmocka_unit_test_setup_teardown(v1_memory, make_folder, remove_folder),
	    cmocka_unit_test_setup_teardown(hugetlb_limits_of_pages_and_reservations, make_folder, remove_folder),
	    cmocka_unit_test(reads_this_host),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
