/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger sends to hugexecd, and what hugexecd may answer: nothing gets through that is not exactly right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "helper/protocol.h"

static const struct helper_request good_request = {HELPER_MAGIC, HELPER_VERSION, "thp,file", "full"};

static void assert_refused(const struct helper_request *request, size_t bytes, unsigned files)
{
	struct helper_request out = {.magic = 7};
	struct error err = {0};
	assert_int_equal(helper_request_check(request, bytes, files, &out, &err), -1);
	assert_string_equal(reason_word(err.code), "helper-request");
	assert_int_equal(out.magic, 7);
}

static void test_request(void **state)
{
	(void)state;
	struct helper_request out, request = good_request;
	assert_int_equal(helper_request_check(&request, sizeof request, 1, &out, NULL), 0);
	assert_string_equal(out.backing, "thp,file");
	assert_string_equal(helper_request_overrides(&out).coverage, "full");
	assert_refused(&request, sizeof request - 1, 1);
	assert_refused(&request, 0, 1);
	assert_refused(&request, sizeof request, 0);
	assert_refused(&request, sizeof request, 2);
	request.magic++;
	assert_refused(&request, sizeof request, 1);
	request = good_request;
	request.version++;
	assert_refused(&request, sizeof request, 1);
	request = good_request;
	memset(request.backing, 'x', sizeof request.backing);
	assert_refused(&request, sizeof request, 1);
	request = good_request;
	strcpy(request.backing, "floppy");
	assert_refused(&request, sizeof request, 1);
	request = good_request;
	memset(request.coverage, 'x', sizeof request.coverage);
	assert_refused(&request, sizeof request, 1);
	request = good_request;
	strcpy(request.coverage, "much");
	assert_refused(&request, sizeof request, 1);
}

static void test_request_without_backing(void **state)
{
	(void)state;
	struct helper_request out, request = {HELPER_MAGIC, HELPER_VERSION, "", ""};
	assert_int_equal(helper_request_check(&request, sizeof request, 1, &out, NULL), 0);
	assert_null(helper_request_overrides(&out).backing);
	assert_null(helper_request_overrides(&out).coverage);
	/* Whatever stands behind the end is no backing, and no request. */
	request.backing[sizeof request.backing - 1] = 'x';
	assert_refused(&request, sizeof request, 1);
	request.backing[sizeof request.backing - 1] = '\0';
	request.coverage[sizeof request.coverage - 1] = 'x';
	assert_refused(&request, sizeof request, 1);
}

static void test_word(void **state)
{
	(void)state;
	static const struct {
		uint32_t flags;
		unsigned files;
		int result;
	} cases[] = {
	    {0, 0, 0},
	    {HELPER_VERBOSE, 0, 0},
	    {HELPER_REPORT, 1, 0},
	    {HELPER_STDERR | HELPER_VERBOSE, 1, 0},
	    {HELPER_REPORT | HELPER_STDERR, 2, 0},
	    {0, 1, -1},
	    {HELPER_REPORT, 0, -1},
	    {HELPER_REPORT, 2, -1},
	    {HELPER_REPORT | HELPER_STDERR, 1, -1},
	    {8, 0, -1},
	    {UINT32_MAX, 2, -1},
	};
	struct helper_word out, word = {HELPER_MAGIC, 0};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		word.flags = cases[i].flags;
		assert_int_equal(helper_word_check(&word, sizeof word, cases[i].files, &out, NULL), cases[i].result);
	}
	word.flags = 0;
	assert_int_equal(helper_word_check(&word, sizeof word - 1, 0, &out, NULL), -1);
	word.magic = 0;
	assert_int_equal(helper_word_check(&word, sizeof word, 0, &out, NULL), -1);
}

static void test_answer(void **state)
{
	(void)state;
	struct helper_answer answer = {HELPER_MAGIC, HELPER_REFUSED, "helper-busy", "a\033[2Jb"};
	enum helper_verdict out;
	struct error err = {0};
	assert_int_equal(helper_answer_check(&answer, sizeof answer, &out, &err), 0);
	assert_string_equal(reason_word(err.code), "helper-busy");
	assert_string_equal(err.detail, "a?[2Jb");
	/* Never beyond the end, whoever answers. */
	memset(answer.word, 'x', sizeof answer.word);
	memset(answer.detail, 'x', sizeof answer.detail);
	assert_int_equal(helper_answer_check(&answer, sizeof answer, &out, &err), 0);
	assert_int_equal(out, HELPER_REFUSED);
	assert_int_equal(err.code, REASON_HELPER_REFUSED); /* not a word of ours */
	assert_true(strlen(err.detail) < sizeof err.detail);
	for (uint32_t verdict = 0; verdict < 6; verdict++) {
		answer.verdict = verdict;
		int expected = verdict >= HELPER_SEIZED && verdict <= HELPER_REFUSED ? 0 : -1;
		assert_int_equal(helper_answer_check(&answer, sizeof answer, &out, &err), expected);
	}
	answer.magic = 0;
	assert_int_equal(helper_answer_check(&answer, sizeof answer, &out, &err), -1);
	assert_string_equal(reason_word(err.code), "helper-answer");
	assert_int_equal(helper_answer_check(&answer, 3, &out, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),
	    cmocka_unit_test(test_request_without_backing),
	    cmocka_unit_test(test_word),
	    cmocka_unit_test(test_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
