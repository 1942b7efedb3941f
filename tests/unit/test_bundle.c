/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told of a config.json: by the parser, by the reader that is locked up, and by one that was taken over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bundle.h"
#include "bundle_ask.h"
#include "bundle_parse.h"

#define HOOK "/opt/hugexec/hugexec-oci-hook"
#define TEXT "{\"annotations\":{\"a\":\"b\",\"\":\"c\"},\"hooks\":{\"createRuntime\":[],\"poststop\":null}}"

static struct bundle_answer *ask(const char *text, const char *hook, struct error *err)
{
	*err = (struct error){0};
	return bundle_ask("config.json", text, strlen(text), hook, err);
}

static void annotations_are_told(void **state)
{
	(void)state;
	struct error err;
	struct bundle_answer *answer = ask(TEXT, NULL, &err);
	assert_non_null(answer);
	struct annotation *list = bundle_answer_annotations(answer);
	assert_int_equal(answer->annotation_count, 2);
	assert_string_equal(list[0].name, "a");
	assert_string_equal(list[0].value, "b");
	assert_string_equal(list[1].name, "");
	assert_string_equal(list[1].value, "c");
	assert_int_equal(answer->places[0].shape, BUNDLE_THERE); /* nobody has asked */
	free(list);
	free(answer);
}

static void a_hook_that_a_plugin_has_told_is_seen(void **state)
{
	(void)state;
	static const struct {
		const char *hooks;
		bool is_told;
	} cases[] = {
	    {"null", false},
	    {"{}", false},
	    {"{\"createRuntime\":null}", false},
	    {"{\"createRuntime\":[null,7,{},{\"path\":7,\"args\":[\"--namespace=a\"]}]}", false},
	    {"{\"createRuntime\":[{\"path\":\"/usr/libexec/hugexec/hugexec-oci-hook\"}]}", false},
	    {"{\"createRuntime\":[{\"path\":\"/x/hugexec-oci-hook\",\"args\":[\"h\",7,\"--report=/r\"]}]}", false},
	    {"{\"createRuntime\":[{\"path\":\"/x/other\",\"args\":[\"h\",\"--namespace=a\"]}]}", false},
	    {"{\"createRuntime\":[{\"path\":\"hugexec-oci-hook\",\"args\":[\"h\",\"--namespace=a\"]}]}", false},
	    {"{\"poststop\":[{\"path\":\"/x/hugexec-oci-hook\",\"args\":[\"h\",\"--namespace=a\"]}]}", false},
	    {"{\"createRuntime\":[{\"path\":\"/x/y\"},{\"path\":\"/x/"
	     "hugexec-oci-hook\",\"args\":[\"h\",\"--namespace=a\"]}]}",
	     true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512];
		struct error err;
		snprintf(text, sizeof text, "{\"hooks\":%s}", cases[i].hooks);
		struct bundle_answer *answer = ask(text, NULL, &err);
		assert_non_null(answer);
		assert_int_equal(answer->has_told_hook, cases[i].is_told);
		free(answer);
	}
}

static void mistakes_are_told(void **state)
{
	(void)state;
	static const struct {
		const char *text, *detail;
	} cases[] = {
	    {"", "config.json at byte 0: the JSON ends too early"},
	    {"{\"a\":1,\"a\":2}", "config.json at byte 7: duplicate key"},
	    {"[]", "config.json: expected a JSON object"},
	    {"{\"annotations\":[]}", "config.json: \"annotations\": expected an object"},
	    {"{\"annotations\":{\"x\xe2\x82\xac\\n\":7}}",
	     "config.json: \"annotations\": \"x\xe2\x82\xac?\": expected a string"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err;
		assert_null(ask(cases[i].text, NULL, &err));
		assert_string_equal(reason_word(err.code), "config");
		assert_string_equal(err.detail, cases[i].detail);
	}
}

/* COUNT annotations with values of VALUE_BYTES. */
static char *many(unsigned count, unsigned value_bytes)
{
	char *text = malloc((size_t)count * (value_bytes + 32) + 64), *at = text;
	at += sprintf(at, "{\"annotations\":{");
	for (unsigned i = 0; i < count; i++)
		at += sprintf(at, "%s\"%u\":\"%0*u\"", i ? "," : "", i, (int)value_bytes, i);
	sprintf(at, "}}");
	return text;
}

static void annotations_are_bounded(void **state)
{
	(void)state;
	static const struct {
		unsigned count, value_bytes;
		bool fits;
	} cases[] = {{OCI_ANNOTATIONS_MAX, 900, true}, {OCI_ANNOTATIONS_MAX + 1, 1, false}, {1000, 1100, false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err;
		char *text = many(cases[i].count, cases[i].value_bytes);
		struct bundle_answer *answer = ask(text, NULL, &err);
		assert_true(cases[i].fits == (answer != NULL));
		if (answer)
			assert_int_equal(answer->annotation_count, cases[i].count);
		else
			assert_non_null(strstr(err.detail, "more than"));
		free(answer);
		free(text);
	}
}

/* A text of UNITs, as large as is read. */
static char *large(const char *unit)
{
	size_t bytes = strlen(unit), at = 1;
	char *text = malloc(BUNDLE_CONFIG_MAX_BYTES + 1);
	strcpy(text, "{\"x\":[");
	for (at = 6; at + bytes + 3 < BUNDLE_CONFIG_MAX_BYTES; at += bytes)
		memcpy(text + at, unit, bytes);
	strcpy(text + at, "1]}");
	return text;
}

/* The largest that is read fits the reader's memory; what is more work than any real one is refused before it is done.
 */
static void large_ones(void **state)
{
	(void)state;
	static const struct {
		const char *opening, *closing;
		int padding_bytes;
		bool fits;
	} units[] = {
	    {"\"", "\",", 90, true},
	    {"{\"source\":\"", "\"},", 180, true},
	    {"[{\"\":\"", "\"}],", 260, true},
	    {"{\"source\":\"", "\"},", 90, false},
	    {"", "1,", 0, false},
	    {"", "{},", 0, false},
	    {"", "[],", 0, false},
	};
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		struct error err;
		char unit[512];
		snprintf(unit, sizeof unit, "%s%0*d%s", units[i].opening, units[i].padding_bytes, 0, units[i].closing);
		if (units[i].padding_bytes == 0)
			snprintf(unit, sizeof unit, "%s", units[i].closing);
		char *text = large(unit);
		struct bundle_answer *answer = ask(text, HOOK, &err);
		if ((answer != NULL) != units[i].fits)
			fail_msg("%s: %s", unit, answer ? "was read" : err.detail);
		if (!answer)
			assert_string_equal(err.detail, "config.json: more than 100000 values");
		free(answer);
		free(text);
	}
}

/* A reader that was taken over answers what it likes. */
static void absurd_answers_are_refused(void **state)
{
	(void)state;
	static struct bundle_answer good, answer;
	bundle_parse(TEXT, strlen(TEXT), HOOK, &good);
	size_t null_at = (size_t)(strstr(TEXT, "null") - TEXT), list_at = (size_t)(strchr(TEXT, ']') - TEXT);
	assert_int_equal(good.places[0].offset, list_at);
	assert_int_equal(good.places[1].offset, null_at);
	for (int kind = 0; kind < 28; kind++) {
		answer = good;
		struct bundle_place *list = &answer.places[0], *null = &answer.places[1];
		size_t less = 0;
		switch (kind) {
		case 1: answer.magic = 0; break;
		case 2: answer.status = 77; break;
		case 3: answer.annotation_count = 1; break;
		case 4: answer.annotation_count = OCI_ANNOTATIONS_MAX + 1; break;
		case 5: answer.annotation_count = UINT32_MAX; break;
		case 6: answer.text[answer.text_bytes - 1] = 'x'; break;
		case 7: answer.text[1] = 'x'; break;
		case 8: answer.text_bytes--; break;
		case 9: answer.text_bytes = UINT32_MAX; break;
		case 10: less = 1; break;
		case 11: less = BUNDLE_ANSWER_BYTES(&answer); break;
		case 12: list->shape = BUNDLE_SHAPES; break;
		case 13: list->is_empty = 2; break;
		case 14: list->offset = UINT64_MAX; break;
		case 15: list->offset = strlen(TEXT); break;
		case 16: list->offset--; break;
		case 17: list->replaced_bytes = 4; break;
		case 18: null->offset++; break;
		case 19: null->offset = strlen(TEXT) - 1; break;
		case 20: null->replaced_bytes = 3; break;
		case 21: null->replaced_bytes = 0; break;
		case 22: null->shape = BUNDLE_NO_HOOKS; break;
		case 23: *null = *list; break;
		case 24: *list = *null; break;
		case 25: *list = *null, list->shape = null->shape = BUNDLE_NO_HOOKS, list->is_empty = 1; break;
		case 26:
			*list = *null, list->offset = 1, list->replaced_bytes = 0, list->shape = BUNDLE_NO_HOOKS;
			break;
		case 27: answer.has_told_hook = 2; break;
		default: break;
		}
		struct error err = {0};
		int result = bundle_answer_check(&answer, BUNDLE_ANSWER_BYTES(&answer) - less, "config.json", TEXT,
		                                 strlen(TEXT), &err);
		if (result != (kind == 0 ? 0 : -1) ||
		    (result < 0 && strcmp(reason_word(err.code), "bundle-reader") != 0))
			fail_msg("kind %d: %d %s", kind, result, reason_word(err.code));
	}
}

/* Its message is shown, so it is cut and made printable. */
static void its_message_is_made_fit(void **state)
{
	(void)state;
	static struct bundle_answer answer = {.magic = BUNDLE_ANSWER_MAGIC, .status = BUNDLE_REFUSED, .offset = 3};
	memset(answer.message, '\n', sizeof answer.message);
	struct error err;
	assert_int_equal(bundle_answer_check(&answer, BUNDLE_ANSWER_BYTES(&answer), "config.json", "{    }", 6, &err),
	                 -1);
	assert_string_equal(reason_word(err.code), "config");
	assert_memory_equal(err.detail, "config.json at byte 3: ????", 27);
	assert_null(strchr(err.detail, '\n'));
	assert_int_equal(strlen(err.detail), strlen("config.json at byte 3: ") + BUNDLE_MESSAGE_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(annotations_are_told),
	    cmocka_unit_test(a_hook_that_a_plugin_has_told_is_seen),
	    cmocka_unit_test(mistakes_are_told),
	    cmocka_unit_test(annotations_are_bounded),
	    cmocka_unit_test(large_ones),
	    cmocka_unit_test(absurd_answers_are_refused),
	    cmocka_unit_test(its_message_is_made_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
