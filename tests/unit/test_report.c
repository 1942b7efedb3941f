/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "report/report.h"

static struct report sample(struct report_object *object)
{
	struct report report = {
	    .pid = 4242,
	    .exe = "/usr/bin/prometheus",
	    .via = VIA_SHIM,
	    .rule = "databases",
	    .outcome = OUTCOME_REMAPPED,
	    .backing = BACKING_FILE,
	    .text_bytes = 22153216,
	    .huge_bytes = 22020096,
	    .latency_us = 2310,
	    .objects = object,
	    .object_count = 1,
	};
	*object = (struct report_object){
	    .path = "/usr/bin/prometheus",
	    .build_id = "ab12",
	    .start = 0x402000,
	    .end = 0x1923000,
	    .text_bytes = 22153216,
	    .huge_bytes = 22020096,
	    .backing = BACKING_FILE,
	};
	return report;
}

static void json_is_the_documented_line(void **state)
{
	(void)state;
	struct report_object object;
	struct report report = sample(&object);
	char *json = report_to_json(&report);
	assert_string_equal(
	    json,
	    "{\"version\":1,\"pid\":4242,\"exe\":\"/usr/bin/prometheus\",\"via\":\"shim\",\"rule\":\"databases\","
	    "\"outcome\":\"remapped\",\"reason\":null,\"backing\":\"file\",\"rebased\":false,\"text_bytes\":22153216,"
	    "\"huge_bytes\":22020096,\"copied_bytes\":0,\"prepared_bytes\":0,\"observed_bytes\":0,\"latency_us\":2310,"
	    "\"objects\":[{"
	    "\"path\":\"/usr/bin/"
	    "prometheus\","
	    "\"build_id\":\"ab12\",\"start\":\"0x402000\",\"end\":\"0x1923000\",\"text_bytes\":22153216,"
	    "\"huge_bytes\":22020096,\"copied_bytes\":0,\"shared_bytes\":0,\"prepared_bytes\":0,\"backing\":\"file\","
	    "\"reason\":null}]}");
	free(json);
}

static void json_says_null_for_what_there_is_not(void **state)
{
	(void)state;
	struct report report = {.pid = 1, .via = VIA_HOOK, .outcome = OUTCOME_SKIPPED, .backing = BACKING_NONE};
	error_set(&report.reason, REASON_TEXT_SMALL, "%s", "1 MiB");
	char *json = report_to_json(&report);
	assert_string_equal(json, "{\"version\":1,\"pid\":1,\"exe\":\"\",\"via\":\"hook\",\"rule\":null,"
	                          "\"outcome\":\"skipped\",\"reason\":\"text-small: 1 MiB\",\"backing\":null,"
	                          "\"rebased\":false,\"text_bytes\":0,\"huge_bytes\":0,\"copied_bytes\":0,\"prepared_"
	                          "bytes\":0,\"observed_bytes\":0,\"latency_"
	                          "us\":0,\"objects\":[]}");
	free(json);
}

/* A program may be called anything. */
static void hostile_names_stay_one_valid_line(void **state)
{
	(void)state;
	struct report_object object;
	struct report report = sample(&object);
	strcpy(report.exe, "/tmp/a\"\n\\\x01\xff\xc3\xbc");
	error_set(&object.reason, REASON_THP_REFUSED, "%s", "{\"x\":1}\n");
	char *json = report_to_json(&report);
	assert_null(strchr(json, '\n'));
	assert_null(strchr(json, '\xff'));
	json_object *parsed = json_tokener_parse(json);
	assert_non_null(parsed);
	json_object *exe;
	assert_true(json_object_object_get_ex(parsed, "exe", &exe));
	assert_string_equal(json_object_get_string(exe), "/tmp/a\"\n\\\x01\xef\xbf\xbd\xc3\xbc");
	json_object_put(parsed);
	free(json);
}

/* What WRITE puts into a pipe. */
static const char *capture(void (*write_report)(int fd, const struct report *report), const struct report *report)
{
	static char buf[8192];
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	write_report(fds[1], report);
	close(fds[1]);
	size_t used = 0;
	for (ssize_t got = 0; (got = read(fds[0], buf + used, sizeof buf - 1 - used)) > 0;)
		used += (size_t)got;
	close(fds[0]);
	buf[used] = '\0';
	return buf;
}

static void tell(int fd, const struct report *report)
{
	assert_int_equal(report_to_human(fd, report, 1000), 0);
}

static void people_get_one_line(void **state)
{
	(void)state;
	struct report_object object;
	struct report report = sample(&object);
	assert_string_equal(capture(tell, &report), "hugexec: prometheus: 21.0 MiB of 21.1 MiB of text on huge "
	                                            "pages (file), held for 2.3 ms\n");
	report.outcome = OUTCOME_SKIPPED;
	error_set(&report.reason, REASON_TEXT_SMALL, "%s", "0.9 MiB");
	assert_string_equal(capture(tell, &report), "hugexec: prometheus: left alone: text-small: 0.9 MiB; "
	                                            "\"hugexecctl explain\" shows its libraries\n");
	report.outcome = OUTCOME_FAILED;
	strcpy(report.exe, "/tmp/\033[2Jx\ny");
	assert_string_equal(capture(tell, &report),
	                    "hugexec: ?[2Jx?y: text stays on small pages: text-small: 0.9 MiB\n");
}

static void append(int fd, const struct report *report)
{
	assert_int_equal(report_append(fd, report, 1000), 0);
}

static void append_adds_one_line(void **state)
{
	(void)state;
	struct report_object object;
	struct report report = sample(&object);
	char *json = report_to_json(&report);
	const char *line = capture(append, &report);
	size_t bytes = strlen(json);
	assert_int_equal(strlen(line), bytes + 1);
	assert_memory_equal(line, json, bytes);
	assert_int_equal(line[bytes], '\n');
	assert_int_equal(report_append(-1, &report, 1000), -1);
	free(json);
}

/* With or without a journal on this host: it returns, and soon. */
static void journal_does_not_hold_us(void **state)
{
	(void)state;
	struct report_object object;
	struct report report = sample(&object);
	alarm(60);
	report_to_journal(&report, NULL);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_is_the_documented_line),
	    cmocka_unit_test(json_says_null_for_what_there_is_not),
	    cmocka_unit_test(hostile_names_stay_one_valid_line),
	    cmocka_unit_test(people_get_one_line),
	    cmocka_unit_test(append_adds_one_line),
	    cmocka_unit_test(journal_does_not_hold_us),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
