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
	enum { KINDS = 9 * 60 }; /* outcomes, backings, reasons */
	_Static_assert(KINDS > METRICS_ROWS && 60 < REASON_COUNT, "more kinds than rows");
	for (int i = 0; i < KINDS; i++) {
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
	assert_int_equal(count_of(&metrics[METRICS_ROWS - 1]), KINDS - METRICS_ROWS + 1);
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
	for (off_t at = 16; at <= 18;
	     at++) { /* behind the magic, the first row's state and user: via, outcome, backing */
		char before;
		assert_int_equal(pread(fd, &before, 1, at), 1);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(metrics_read(file, metrics), 0);
		assert_int_equal(pwrite(fd, &before, 1, at), 1);
		assert_int_equal(metrics_read(file, metrics), 1);
	}
	char text[METRICS_REASON_BYTES];
	memset(text, 'x', sizeof text);
	assert_int_equal(pwrite(fd, text, sizeof text, 19), sizeof text);
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

static struct count count_by(const char *unit, const char *rule, enum reason reason)
{
	struct report report = report_of(OUTCOME_SKIPPED, BACKING_NONE, reason, 7);
	struct count count;
	snprintf(report.rule, sizeof report.rule, "%s", rule);
	metrics_count_of(&report, &count);
	metrics_set_unit(&count.key, unit);
	return count;
}

/* Labels that anybody can make up are bounded, and nothing is lost. */
static void units_and_rules_are_bounded(void **state)
{
	(void)state;
	needs_root();
	enum { NAMES = 3 * METRICS_LABELS_MAX };
	char unit[32], rule[32];
	size_t units = 0, others = 0;
	uint64_t sum = 0;
	for (int i = 0; i < NAMES; i++) {
		snprintf(unit, sizeof unit, "a%d.service", i);
		snprintf(rule, sizeof rule, "rule %d", i);
		struct count count = count_by(unit, rule, REASON_NONE);
		assert_true(metrics_add_count(file, &count, 0));
	}
	int count = metrics_read(file, metrics);
	for (int i = 0; i < count; i++) {
		sum += count_of(&metrics[i]);
		bool is_other = strcmp(metrics[i].key.unit, METRICS_OTHER) == 0;
		assert_int_equal(is_other, strcmp(metrics[i].key.rule, METRICS_OTHER) == 0);
		others += is_other;
		units += !is_other;
	}
	assert_int_equal(units, METRICS_LABELS_MAX);
	assert_int_equal(others, 1);
	assert_int_equal(sum, NAMES);
}

static void which_units_have_a_label(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	    {"a.service", "a.service"},
	    {"postgresql@15-main.service", "postgresql@15-main.service"},
	    {"run-r12ab.service", "run-*.service"},
	    {"user@1000.service", "user@*.service"},
	    {"session-7.scope", ""},
	    {".service", ""},
	    {"", ""},
	};
	struct metric_key key;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		metrics_set_unit(&key, cases[i][0]);
		assert_string_equal(key.unit, cases[i][1]);
	}
	metrics_set_unit(&key, NULL);
	assert_string_equal(key.unit, "");
}

/* A user takes some rows and no more, and root finds rows whatever users do. */
static void a_user_cannot_fill_the_table(void **state)
{
	(void)state;
	needs_root();
	for (uid_t uid = 1000; uid < 1020; uid++) {
		for (int reason = 1; reason <= METRICS_ROWS_OF_USER + 5; reason++) {
			struct count count = count_by(NULL, "", (enum reason)reason);
			count.key.outcome = (uint8_t)(uid % 3);
			count.key.backing = (int8_t)(uid / 3 % 3);
			count.key.via = (uint8_t)(1 << uid / 9 % 2);
			assert_true(metrics_add_count(file, &count, uid));
		}
	}
	struct count count = count_by("mine.service", "mine", REASON_NONE);
	assert_true(metrics_add_count(file, &count, 0));
	int rows = metrics_read(file, metrics);
	uint64_t sum = 0;
	bool has_mine = false;
	for (int i = 0; i < rows; i++) {
		sum += count_of(&metrics[i]);
		has_mine |= strcmp(metrics[i].key.unit, "mine.service") == 0;
	}
	assert_true(has_mine && rows <= METRICS_ROWS_OF_USERS + 2);
	assert_int_equal(sum, 20 * (METRICS_ROWS_OF_USER + 5) + 1);
}

static bool has_rule(const char *rule)
{
	int rows = metrics_read(file, metrics);
	for (int i = 0; i < rows; i++) {
		if (strcmp(metrics[i].key.rule, rule) == 0)
			return true;
	}
	return false;
}

/* Users can make up names of rules, so many that they have no label any more; root's have. */
static void users_leave_labels_for_root(void **state)
{
	(void)state;
	needs_root();
	char rule[32];
	for (unsigned i = 0; i < 2 * METRICS_LABELS_MAX; i++) {
		snprintf(rule, sizeof rule, "made up %u", i);
		struct count count = count_by(NULL, rule, REASON_NONE);
		assert_true(metrics_add_count(file, &count, 1000 + i / 20));
	}
	assert_false(has_rule(rule));
	struct count count = count_by("mine.service", "mine", REASON_NONE);
	assert_true(metrics_add_count(file, &count, 0));
	assert_true(has_rule("mine"));
}

/* Rules that are shown alike are one: whoever scrapes a series twice refuses all. */
static void labels_are_told_apart(void **state)
{
	(void)state;
	needs_root();
	static const char *const rules[] = {"", "none", "\x01", "\x02", "?", "\xff", "b"};
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		struct count count = count_by(NULL, rules[i], REASON_NONE);
		assert_true(metrics_add_count(file, &count, 1000));
	}
	assert_int_equal(metrics_read(file, metrics), 3);
	assert_true(has_rule("") && has_rule("?") && has_rule("b"));
}

static unsigned spaces(void)
{
	unsigned count = 0;
	int rows = metrics_read(file, metrics);
	for (int i = 0; i < rows; i++)
		count += metrics[i].key.space[0] && strcmp(metrics[i].key.space, METRICS_OTHER) != 0;
	return count;
}

/* So many namespaces have a label, and what is beyond goes to one; none is lost. */
static void namespaces_are_bounded(void **state)
{
	(void)state;
	needs_root();
	char name[32];
	for (unsigned i = 0; i < 2 * METRICS_LABELS_MAX; i++) {
		snprintf(name, sizeof name, "tenant-%u", i);
		const struct container_attrs attrs = {.pod_namespace = name};
		struct report report = {.via = VIA_HOOK, .backing = BACKING_NONE, .rule = "pods", .container = &attrs};
		struct count count;
		metrics_count_of(&report, &count);
		assert_string_equal(count.key.space, name);
		assert_true(metrics_add_count(file, &count, 0));
	}
	int rows = metrics_read(file, metrics);
	uint64_t sum = 0;
	for (int i = 0; i < rows; i++)
		sum += count_of(&metrics[i]);
	assert_int_equal(spaces(), METRICS_LABELS_MAX);
	assert_int_equal(rows, METRICS_LABELS_MAX + 1);
	assert_int_equal(sum, 2 * METRICS_LABELS_MAX);
}

static void which_namespaces_have_a_label(void **state)
{
	(void)state;
	struct metric_key key;
	char longer[200];
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	metrics_set_space(&key, "shop\n\x1b\xff");
	assert_string_equal(key.space, "shop???");
	metrics_set_space(&key, longer);
	assert_int_equal(strlen(key.space), METRICS_SPACE_BYTES - 1);
	metrics_set_space(&key, METRICS_NONE);
	assert_string_equal(key.space, "");
	metrics_set_space(&key, NULL);
	assert_string_equal(key.space, "");
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
	    cmocka_unit_test_setup_teardown(units_and_rules_are_bounded, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_user_cannot_fill_the_table, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(users_leave_labels_for_root, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(labels_are_told_apart, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(namespaces_are_bounded, set_up, tear_down),
	    cmocka_unit_test(which_namespaces_have_a_label),
	    cmocka_unit_test(which_units_have_a_label),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
