/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report/counters.h"

static char file[64];
static struct metric metrics[METRICS_ROWS];

static int set_up(void **state)
{
	(void)state;
	strcpy(file, "/tmp/hugexec-metrics-XXXXXX");
	int fd = mkstemp(file);
	close(fd);
	return fd < 0 || chmod(file, 0644) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(file);
}

static struct report report_of(enum outcome outcome, enum backing backing, enum reason reason, uint64_t held_us)
{
	struct report report = {.via = VIA_HOOK,
	                        .outcome = outcome,
	                        .backing = backing,
	                        .text_bytes = 10,
	                        .huge_bytes = 4,
	                        .latency_us = held_us};
	if (reason)
		error_set(&report.reason, reason, "whatever it was");
	return report;
}

static uint64_t count_of(const struct metric *metric)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		sum += metric->held[i];
	return sum;
}

static void needs_root(void)
{
	if (geteuid() != 0)
		skip(); /* only root's file counts */
}

static void kinds_are_counted_apart(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(metrics_read(file, metrics), 0);
	struct report first = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
	struct report second = report_of(OUTCOME_FAILED, BACKING_NONE, REASON_ADDRESS_SPACE_LIMIT, 1000001);
	metrics_add(file, &first);
	metrics_add(file, &second);
	first.latency_us = 501;
	metrics_add(file, &first);
	assert_int_equal(metrics_read(file, metrics), 2);
	assert_int_equal(metrics[0].key.via, VIA_HOOK);
	assert_int_equal(metrics[0].key.outcome, OUTCOME_REMAPPED);
	assert_int_equal(metrics[0].key.backing, BACKING_FILE);
	assert_string_equal(metrics[0].key.reason, "");
	assert_int_equal(metrics[0].text_bytes, 20);
	assert_int_equal(metrics[0].huge_bytes, 8);
	assert_int_equal(metrics[0].held_us, 1001);
	assert_int_equal(metrics[0].held[0], 1); /* a limit belongs to its bucket */
	assert_int_equal(metrics[0].held[1], 1);
	assert_string_equal(metrics[1].key.reason, "address-space-limit");
	assert_int_equal(metrics[1].held[METRICS_BUCKETS - 1], 1);
}

static void many_at_once_lose_nothing(void **state)
{
	(void)state;
	needs_root();
	enum { WRITERS = 8, KINDS = 5, ROUNDS = 400 };
	pid_t writers[WRITERS];
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = fork();
		if (writers[i] == 0) {
			for (int round = 0; round < ROUNDS * KINDS; round++) {
				enum reason kind = (enum reason)(1 + round % KINDS);
				struct report report = report_of(OUTCOME_SKIPPED, BACKING_NONE, kind, 7);
				metrics_add(file, &report);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < WRITERS; i++)
		waitpid(writers[i], NULL, 0);
	assert_int_equal(metrics_read(file, metrics), KINDS);
	for (int i = 0; i < KINDS; i++) {
		assert_int_equal(count_of(&metrics[i]), WRITERS * ROUNDS);
		assert_int_equal(metrics[i].text_bytes, WRITERS * ROUNDS * 10);
		assert_int_equal(metrics[i].held_us, WRITERS * ROUNDS * 7);
	}
}

static void a_full_table_still_counts(void **state)
{
	(void)state;
	needs_root();
	struct stat before, after;
	_Static_assert(2 * METRICS_ROWS / 9 + 1 < REASON_COUNT, "enough reasons, with outcomes and backings");
	for (int i = 0; i < 2 * METRICS_ROWS; i++) {
		enum reason reason = (enum reason)(1 + i / 9);
		struct report report = report_of((enum outcome)(i % 3), (enum backing)(i / 3 % 3), reason, 7);
		metrics_add(file, &report);
		if (i == 0)
			stat(file, &before);
	}
	stat(file, &after);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(metrics_read(file, metrics), METRICS_ROWS);
	assert_int_equal(metrics[METRICS_ROWS - 1].key.via, 0);
	assert_int_equal(count_of(&metrics[METRICS_ROWS - 1]), METRICS_ROWS + 1);
}

static void strange_files_are_left_alone(void **state)
{
	(void)state;
	needs_root();
	struct report report = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
	char link[80];
	struct stat about;
	metrics_add("/tmp/hugexec-no-such-file", &report);
	assert_int_equal(access("/tmp/hugexec-no-such-file", F_OK), -1);
	snprintf(link, sizeof link, "%s-link", file);
	assert_int_equal(symlink(file, link), 0);
	metrics_add(link, &report);
	unlink(link);
	assert_int_equal(mkfifo(link, 0644), 0);
	metrics_add(link, &report);
	assert_int_equal(metrics_read(link, metrics), -1);
	unlink(link);
	chmod(file, 0666);
	metrics_add(file, &report);
	chmod(file, 0644);
	assert_int_equal(chown(file, 12, 12), 0);
	metrics_add(file, &report);
	assert_int_equal(chown(file, 0, 0), 0);
	stat(file, &about);
	assert_int_equal(about.st_size, 0);

	metrics_add(file, &report);
	int fd = open(file, O_RDWR);
	assert_int_equal(pwrite(fd, "something", 9, 0), 9);
	assert_int_equal(metrics_read(file, metrics), -1);
	assert_int_equal(ftruncate(fd, 100), 0);
	metrics_add(file, &report);
	assert_int_equal(metrics_read(file, metrics), -1);
	close(fd);
}

/* Rows whose numbers name nothing, as of another version. */
static void broken_rows_are_passed_over(void **state)
{
	(void)state;
	needs_root();
	struct report report = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
	metrics_add(file, &report);
	int fd = open(file, O_RDWR);
	char byte = 99;
	for (off_t at = 12; at <= 14; at++) { /* behind the magic and the first row's state: via, outcome, backing */
		char before;
		assert_int_equal(pread(fd, &before, 1, at), 1);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(metrics_read(file, metrics), 0);
		assert_int_equal(pwrite(fd, &before, 1, at), 1);
		assert_int_equal(metrics_read(file, metrics), 1);
	}
	char text[METRICS_REASON_BYTES];
	memset(text, 'x', sizeof text);
	assert_int_equal(pwrite(fd, text, sizeof text, 15), sizeof text);
	assert_int_equal(metrics_read(file, metrics), 0);
	close(fd);
}

/* Two that take a row for the same kind at the same moment. */
static void rows_of_one_kind_are_added_up(void **state)
{
	(void)state;
	needs_root();
	struct stat about;
	struct report report = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
	metrics_add(file, &report);
	stat(file, &about);
	size_t row_bytes = ((size_t)about.st_size - sizeof(uint64_t)) / METRICS_ROWS;
	char *row = malloc(row_bytes);
	int fd = open(file, O_RDWR);
	assert_int_equal(pread(fd, row, row_bytes, sizeof(uint64_t)), row_bytes);
	assert_int_equal(pwrite(fd, row, row_bytes, (off_t)(sizeof(uint64_t) + row_bytes)), row_bytes);
	close(fd);
	free(row);
	assert_int_equal(metrics_read(file, metrics), 1);
	assert_int_equal(count_of(&metrics[0]), 2);
	assert_int_equal(metrics[0].text_bytes, 20);
	assert_int_equal(metrics[0].huge_bytes, 8);
	assert_int_equal(metrics[0].held_us, 1000);
}

/* A launch that may write no files is neither killed nor counted. */
static void file_size_limits_do_no_harm(void **state)
{
	(void)state;
	needs_root();
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit none = {0, 0};
		struct report report = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
		setrlimit(RLIMIT_FSIZE, &none);
		metrics_add(file, &report);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(metrics_read(file, metrics), 0);
}

/* One whose seccomp filter kills for what only the first has to do. */
static void filters_that_kill_do_no_harm(void **state)
{
	(void)state;
	needs_root();
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
	struct report report = report_of(OUTCOME_REMAPPED, BACKING_FILE, REASON_NONE, 500);
	for (int round = 0; round < 2; round++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
				_exit(1);
			metrics_add(file, &report);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		/* It is counted once somebody else has begun the file. */
		assert_int_equal(metrics_read(file, metrics), round);
		metrics_add(file, &report);
	}
	assert_int_equal(count_of(&metrics[0]), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(kinds_are_counted_apart, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(many_at_once_lose_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_full_table_still_counts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(strange_files_are_left_alone, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(broken_rows_are_passed_over, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(filters_that_kill_do_no_harm, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(rows_of_one_kind_are_added_up, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(file_size_limits_do_no_harm, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
