/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `hugexecctl compare` says of numbers that were measured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "ctl/comparison.h"

#define MIB (UINT64_C(1) << 20)

static char server[] = "server", *const command[] = {server, NULL};

/* Of runs that take FIRST_US plain, and the change from LOW to HIGH more or less under hugexec. */
static struct comparison measured(double first_us, double low, double high)
{
	double change = (low + high) / 2;
	struct comparison comparison = {
	    .command = command,
	    .measures =
	        {{"wall", "wall_us", UNIT_TIME, {10, first_us, first_us * (1 + change), change, true, low, high}},
	         {"faults", "page_faults", UNIT_COUNT, {10, 0, 7, PAIRED_ENDLESS, false, 0, 0}}},
	    .measure_count = 2,
	    .reported = {{.exe = "/usr/bin/server",
	                  .outcome = "remapped",
	                  .backing = "file",
	                  .text_bytes = 12 * MIB,
	                  .huge_bytes = 10 * MIB,
	                  .held_us = 4200}},
	    .reported_count = 1,
	};
	return comparison;
}

/* What PRINT writes, in a fresh string. */
static char *printed(void (*print)(const struct comparison *comparison), const struct comparison *comparison)
{
	FILE *terminal = stdout;
	char *text = NULL;
	size_t bytes;
	stdout = open_memstream(&text, &bytes);
	assert_non_null(stdout);
	print(comparison);
	fclose(stdout);
	stdout = terminal;
	return text;
}

static void assert_said(const struct comparison *comparison, const char *wanted)
{
	char *text = printed(comparison_print, comparison);
	if (!strstr(text, wanted))
		fail_msg("not \"%s\" in: %s", wanted, text);
	free(text);
}

static void assert_verdict(const struct comparison *comparison, const char *word, const char *sentence)
{
	assert_string_equal(comparison_verdict(comparison), word);
	assert_said(comparison, sentence);
	char *text = printed(comparison_print_json, comparison);
	json_object *json = json_tokener_parse(text);
	assert_string_equal(json_object_get_string(json_object_object_get(json, "verdict")), word);
	/* The sentence that people read, without what is around it. */
	const char *said = json_object_get_string(json_object_object_get(json, "text"));
	assert_memory_equal(sentence + 2, said, strlen(said));
	json_object_put(json);
	free(text);
}

static void the_verdict_is_one_sentence(void **state)
{
	(void)state;
	struct comparison comparison = measured(2e6, -0.08, -0.04);
	assert_verdict(&comparison, "faster", "\n\nfaster under hugexec: it takes 4.0 to 8.0 % less time.\n");
	comparison = measured(2e6, 0.02, 0.06);
	assert_verdict(&comparison, "slower", "\n\nslower under hugexec: it takes 2.0 to 6.0 % more time.\n");
	comparison = measured(2e6, -0.004, 0.006);
	assert_verdict(&comparison, "same", "\n\nno difference: less than 1 % either way.\n");
	comparison.measures[0].paired.has_interval = false;
	assert_verdict(&comparison, "too-few", "\n\ncannot tell from fewer than 8 pairs of runs.\n");
	comparison = measured(2e6, -0.08, -0.04);
	comparison.reported[0].huge_bytes = 0;
	assert_verdict(&comparison, "not-remapped",
	               "\n\nhugexec put no text on huge pages, so there is nothing to compare.\n");
}

/* Of a run of 20 ms a start by hugexec is a good part. */
static void a_short_run_is_no_reason_to_leave_hugexec(void **state)
{
	(void)state;
	struct comparison comparison = measured(20000, 0.15, 0.25);
	assert_verdict(
	    &comparison, "slower",
	    "\n\nslower under hugexec: it takes 15.0 to 25.0 % more time; 4.0 ms is about what a start by hugexec "
	    "costs, so compare a longer run.\n");
}

static void values_have_units(void **state)
{
	(void)state;
	struct comparison comparison = measured(2e6, -0.08, -0.04);
	assert_said(&comparison, "wall              2.000 s      1.880 s     -6.0 %  (-8.0 to -4.0 %)\n"
	                         "faults                  0            7    >+999 %\n");
	comparison.measures[0].paired.first = 2500;
	assert_said(&comparison, "wall              2.50 ms ");
	assert_said(&comparison, "text         server: 10.0 MiB of 12.0 MiB on huge pages (file), held for 4.2 ms\n");
	/* With a library's text that is prepared, and data beside the text: never more text than there is. */
	comparison.reported[0].huge_bytes = 14 * MIB;
	comparison.reported[0].prepared_bytes = 30 * MIB;
	assert_said(&comparison,
	            "text         server: 12.0 MiB of 12.0 MiB on huge pages (file), 30.0 MiB of libraries "
	            "prepared, held for 4.2 ms\n");
	comparison.reported[0].backing[0] = '\0';
	comparison.reported[0].huge_bytes = 0;
	assert_said(&comparison, "server: 0 B of 12.0 MiB on huge pages, 30.0 MiB of libraries prepared, held ");
	comparison.reported[0].prepared_bytes = 0;
	snprintf(comparison.reported[0].outcome, sizeof comparison.reported[0].outcome, "skipped");
	snprintf(comparison.reported[0].reason, sizeof comparison.reported[0].reason, "text-small: 1.0 MiB");
	comparison.reported[0].huge_bytes = 0;
	assert_said(&comparison,
	            "text         server: skipped: text-small: 1.0 MiB; \"hugexecctl explain\" shows its libraries\n");
}

/* Huge pages that the program has without hugexec are no merit of hugexec's. */
static void what_plain_has_is_told(void **state)
{
	(void)state;
	struct comparison comparison = measured(2e6, -0.08, -0.04);
	char *text = printed(comparison_print, &comparison);
	assert_null(strstr(text, "\nplain  "));
	free(text);
	comparison.plain_is_known = true;
	comparison.plain_text_bytes = 12 * MIB;
	comparison.plain_huge_bytes = 8 * MIB;
	assert_said(&comparison, "plain        8.0 MiB of 12.0 MiB of its text are on huge pages without hugexec too");
	comparison.plain_without_huge = true;
	assert_said(&comparison, "so that 8.0 MiB of 12.0 MiB would be on them without "
	                         "hugexec too. So huge pages were switched off");
}

int main(void)
{
	setenv("COLUMNS", "1000", 1); /* each line in one piece */
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_verdict_is_one_sentence),
	    cmocka_unit_test(a_short_run_is_no_reason_to_leave_hugexec),
	    cmocka_unit_test(values_have_units),
	    cmocka_unit_test(what_plain_has_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
