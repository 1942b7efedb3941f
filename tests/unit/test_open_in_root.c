/* SPDX-License-Identifier: Apache-2.0 */
#include "base/open_in_root.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOKUPS_MAX 2000000

/* There are the folders "one" and "two", "there" in "one", a link "out" that leads above this, and "a" or "b". */
static char folder[] = "/tmp/hugexec-root-XXXXXX";
static int root_fd;
static atomic_bool ends;

static int setup(void **state)
{
	(void)state;
	int fd = open_in_root(AT_FDCWD, "/", O_PATH);
	if (fd < 0 && errno == ENOSYS) {
		puts("this kernel, or a filter, has no openat2(2)");
		exit(77); /* meson's word for a test that was skipped */
	}
	close(fd);
	assert_non_null(mkdtemp(folder));
	root_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(root_fd >= 0);
	assert_int_equal(mkdirat(root_fd, "one", 0700), 0);
	assert_int_equal(mkdirat(root_fd, "two", 0700), 0);
	assert_int_equal(mkdirat(root_fd, "one/there", 0700), 0);
	assert_int_equal(symlinkat("../../../../etc", root_fd, "out"), 0);
	assert_int_equal(mkdirat(root_fd, "a", 0700), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlinkat(root_fd, "a", AT_REMOVEDIR);
	unlinkat(root_fd, "b", AT_REMOVEDIR);
	unlinkat(root_fd, "out", 0);
	unlinkat(root_fd, "one/there", AT_REMOVEDIR);
	unlinkat(root_fd, "one", AT_REMOVEDIR);
	unlinkat(root_fd, "two", AT_REMOVEDIR);
	return rmdir(folder);
}

static void *rename_all_the_time(void *unused)
{
	while (!ends) {
		renameat(root_fd, "a", root_fd, "b");
		renameat(root_fd, "b", root_fd, "a");
	}
	return unused;
}

/* As the kernel answers to a single try. */
static int open_once(const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
}

/* For as long as it takes until the kernel has said EAGAIN to a single try a hundred times. */
static void test_while_others_rename(void **state)
{
	(void)state;
	pthread_t renamer;
	unsigned again = 0;
	int failed = 0; /* errno; the other thread is to end before the test does */
	assert_int_equal(pthread_create(&renamer, NULL, rename_all_the_time, NULL), 0);
	for (unsigned i = 0; i < LOOKUPS_MAX && again < 100 && !failed; i++) {
		int fd = open_once("one/../two/../one/there");
		if (fd >= 0)
			close(fd);
		else if (errno == EAGAIN)
			again++;
		fd = open_in_root(root_fd, "one/../two/../one/there", O_PATH);
		if (fd < 0)
			failed = errno;
		else
			close(fd);
	}
	ends = true;
	pthread_join(renamer, NULL);
	if (failed)
		fail_msg("%s", strerror(failed));
	if (again == 0)
		skip(); /* one processor: nobody renames while we look */
}

static void test_no_way_out(void **state)
{
	(void)state;
	assert_int_equal(open_in_root(root_fd, "out/passwd", O_PATH), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(open_in_root(root_fd, "/../../etc/passwd", O_PATH), -1);
	assert_int_equal(errno, ENOENT);
	int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(open_in_root(proc_fd, "self/root", O_PATH), -1);
	assert_int_equal(errno, ELOOP);
	close(proc_fd);
}

static void test_is_closed_on_exec(void **state)
{
	(void)state;
	int fd = open_in_root(root_fd, "one", O_PATH);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_while_others_rename),
	    cmocka_unit_test(test_no_way_out),
	    cmocka_unit_test(test_is_closed_on_exec),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
