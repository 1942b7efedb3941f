/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/comparison.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"

#define SMALL        "text-small: " /* as reports begin */
#define NAME_COLUMNS 12

bool comparison_is_remapped(const struct comparison *comparison)
{
	for (size_t i = 0; i < comparison->reported_count; i++) {
		if (comparison->reported[i].huge_bytes + comparison->reported[i].prepared_bytes > 0)
			return true;
	}
	return false;
}

const char *comparison_verdict(const struct comparison *comparison)
{
	static const char *const words[] = {[PAIRED_LESS] = "faster",
	                                    [PAIRED_MORE] = "slower",
	                                    [PAIRED_SAME] = "same",
	                                    [PAIRED_UNCLEAR] = "unclear",
	                                    [PAIRED_TOO_FEW] = "too-few"};
	return comparison_is_remapped(comparison) ? words[paired_verdict(&comparison->measures[0].paired)]
	                                          : "not-remapped";
}

static double percent(double change)
{
	return 100 * change;
}

const char *comparison_format_change(double change, char *buf, size_t buf_bytes)
{
	snprintf(buf, buf_bytes, percent(change) > 999 ? ">+999" : "%+.1f", percent(change));
	return buf;
}

/* What a start by hugexec costs, about; a difference of no more than that says nothing of what comes after it. */
#define START_US 10000.0

/* One sentence about what is more under hugexec. */
static void slower_text(const struct paired *wall, char *buf, size_t buf_bytes)
{
	double more_us = wall->second - wall->first;
	int length = snprintf(buf, buf_bytes, "slower under hugexec: it takes %.1f to %.1f %% more time",
	                      percent(wall->low), percent(wall->high));
	if (more_us < START_US && length > 0 && (size_t)length < buf_bytes)
		snprintf(buf + length, buf_bytes - (size_t)length,
		         "; %.1f ms is about what a start by hugexec costs, so compare a longer run", more_us / 1e3);
}

/* One sentence about wall-clock time. */
static void verdict_text(const struct comparison *comparison, char *buf, size_t buf_bytes)
{
	const struct paired *wall = &comparison->measures[0].paired;
	if (!comparison_is_remapped(comparison)) {
		snprintf(buf, buf_bytes, "hugexec put no text on huge pages, so there is nothing to compare");
		return;
	}
	switch (paired_verdict(wall)) {
	case PAIRED_LESS:
		snprintf(buf, buf_bytes, "faster under hugexec: it takes %.1f to %.1f %% less time",
		         percent(-wall->high), percent(-wall->low));
		break;
	case PAIRED_MORE: slower_text(wall, buf, buf_bytes); break;
	case PAIRED_SAME:
		snprintf(buf, buf_bytes, "no difference: less than %.0f %% either way", percent(PAIRED_SMALL));
		break;
	case PAIRED_UNCLEAR:
		snprintf(buf, buf_bytes,
		         "no difference that stands out from the noise (%+.1f to %+.1f %%); more runs (-n) narrow that",
		         percent(wall->low), percent(wall->high));
		break;
	default: snprintf(buf, buf_bytes, "cannot tell from fewer than %d pairs of runs", PAIRED_MIN); break;
	}
}

static void format_value(const struct measure *measure, double value, char *buf, size_t buf_bytes)
{
	if (measure->unit == UNIT_COUNT)
		snprintf(buf, buf_bytes, "%.0f", value);
	else if (value < 1e6)
		snprintf(buf, buf_bytes, "%.2f ms", value / 1e3);
	else
		snprintf(buf, buf_bytes, "%.3f s", value / 1e6);
}

void comparison_print_measure(const struct measure *measure)
{
	char plain[32], hugexec[32], change[16], low[16], high[16];
	const struct paired *paired = &measure->paired;
	format_value(measure, paired->first, plain, sizeof plain);
	format_value(measure, paired->second, hugexec, sizeof hugexec);
	printf("%-*s %12s %12s  %7s %%", NAME_COLUMNS, measure->name, plain, hugexec,
	       comparison_format_change(paired->change, change, sizeof change));
	if (paired->has_interval)
		printf("  (%s to %s %%)", comparison_format_change(paired->low, low, sizeof low),
		       comparison_format_change(paired->high, high, sizeof high));
	putchar('\n');
}

static void print_reported(const struct reported *reported)
{
	/* What lies beside the text in a huge page is no text, and what is prepared is none that is mapped. */
	uint64_t huge_bytes = reported->huge_bytes < reported->text_bytes ? reported->huge_bytes : reported->text_bytes;
	char exe[4 * COMPARE_NAME_BYTES], reason[TEXT_LINE_BYTES], huge[16], text[16], prepared[64] = "";
	char line[sizeof exe + sizeof reason + 256];
	const char *slash = strrchr(reported->exe, '/');
	text_printable(slash ? slash + 1 : reported->exe, exe, sizeof exe);
	text_printable(reported->reason, reason, sizeof reason);
	if (reported->prepared_bytes > 0)
		snprintf(prepared, sizeof prepared, ", %s of libraries prepared",
		         size_format(reported->prepared_bytes, huge, sizeof huge));
	if (reported->huge_bytes + reported->prepared_bytes == 0)
		snprintf(line, sizeof line, "%s: %s%s%s%s", exe, reported->outcome, *reason ? ": " : "", reason,
		         strncmp(reason, SMALL, strlen(SMALL)) == 0 ? "; \"hugexecctl explain\" shows its libraries"
		                                                    : "");
	else
		snprintf(line, sizeof line, "%s: %s of %s on huge pages%s%s%s%s, held for %.1f ms", exe,
		         size_format(huge_bytes, huge, sizeof huge),
		         size_format(reported->text_bytes, text, sizeof text), *reported->backing ? " (" : "",
		         reported->backing, *reported->backing ? ")" : "", prepared, reported->held_us / 1e3);
	ctl_print_named(NAME_COLUMNS, "text", line);
}

static void print_plain(const struct comparison *comparison)
{
	char huge[16], text[16], line[TEXT_LINE_BYTES];
	if (!comparison->plain_is_known || !comparison->plain_huge_bytes)
		return;
	size_format(comparison->plain_huge_bytes, huge, sizeof huge);
	size_format(comparison->plain_text_bytes, text, sizeof text);
	if (comparison->plain_without_huge)
		snprintf(line, sizeof line,
		         "The page cache has the text in huge pages, so that %s of %s would be on them without "
		         "hugexec too. So huge pages were switched off (PR_SET_THP_DISABLE) in the plain runs.",
		         huge, text);
	else
		snprintf(line, sizeof line,
		         "%s of %s of its text are on huge pages without hugexec too, since the page cache has "
		         "them: what is compared is what hugexec adds to that.",
		         huge, text);
	ctl_print_named(NAME_COLUMNS, "plain", line);
}

void comparison_print(const struct comparison *comparison)
{
	char text[256], line[288];
	size_t pairs = comparison->measures[0].paired.count;
	ctl_print_tlb(&comparison->tlb);
	snprintf(line, sizeof line,
	         "%zu pair%s of runs, in random order: medians; what hugexec changes, and its %.0f %% interval", pairs,
	         pairs == 1 ? "" : "s", percent(PAIRED_CONFIDENCE));
	ctl_print_wrapped(0, line);
	printf("\n%-*s %12s %12s  %9s\n", NAME_COLUMNS, "", "plain", "hugexec", "change");
	for (size_t i = 0; i < comparison->measure_count; i++)
		comparison_print_measure(&comparison->measures[i]);
	putchar('\n');
	for (size_t i = 0; i < comparison->reported_count; i++)
		print_reported(&comparison->reported[i]);
	print_plain(comparison);
	verdict_text(comparison, text, sizeof text);
	snprintf(line, sizeof line, "%s.", text);
	putchar('\n');
	ctl_print_wrapped(0, line);
}

static json_object *change_to_json(double change)
{
	return change < PAIRED_ENDLESS ? json_object_new_double(change) : NULL;
}

json_object *comparison_measure_to_json(const struct measure *measure, const char *first, const char *second)
{
	const struct paired *paired = &measure->paired;
	json_object *json = json_object_new_object();
	json_object_object_add(json, first, json_object_new_double(paired->first));
	json_object_object_add(json, second, json_object_new_double(paired->second));
	json_object_object_add(json, "change", change_to_json(paired->change));
	json_object_object_add(json, "low", paired->has_interval ? change_to_json(paired->low) : NULL);
	json_object_object_add(json, "high", paired->has_interval ? change_to_json(paired->high) : NULL);
	return json;
}

static json_object *reported_to_json(const struct reported *reported)
{
	json_object *json = json_object_new_object();
	json_object_object_add(json, "exe", ctl_text(reported->exe));
	json_object_object_add(json, "outcome", ctl_text(reported->outcome));
	json_object_object_add(json, "reason", ctl_text(reported->reason));
	json_object_object_add(json, "backing", ctl_text(reported->backing));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(reported->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(reported->huge_bytes));
	json_object_object_add(json, "prepared_bytes", json_object_new_uint64(reported->prepared_bytes));
	json_object_object_add(json, "held_us", json_object_new_double(reported->held_us));
	return json;
}

static json_object *plain_to_json(const struct comparison *comparison)
{
	if (!comparison->plain_is_known)
		return NULL;
	json_object *json = json_object_new_object();
	json_object_object_add(json, "text_bytes", json_object_new_uint64(comparison->plain_text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(comparison->plain_huge_bytes));
	json_object_object_add(json, "switched_off", json_object_new_boolean(comparison->plain_without_huge));
	return json;
}

void comparison_print_json(const struct comparison *comparison)
{
	char text[256];
	json_object *json = json_object_new_object(), *command = json_object_new_array();
	json_object *measures = json_object_new_object(), *reported = json_object_new_array();
	for (char *const *word = comparison->command; *word; word++)
		json_object_array_add(command, ctl_text(*word));
	for (size_t i = 0; i < comparison->measure_count; i++)
		json_object_object_add(measures, comparison->measures[i].key,
		                       comparison_measure_to_json(&comparison->measures[i], "plain", "hugexec"));
	for (size_t i = 0; i < comparison->reported_count; i++)
		json_object_array_add(reported, reported_to_json(&comparison->reported[i]));
	verdict_text(comparison, text, sizeof text);
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "command", command);
	json_object_object_add(json, "tlb", ctl_tlb(&comparison->tlb));
	json_object_object_add(json, "pairs", json_object_new_uint64(comparison->measures[0].paired.count));
	json_object_object_add(json, "confidence", json_object_new_double(PAIRED_CONFIDENCE));
	json_object_object_add(json, "measures", measures);
	json_object_object_add(json, "programs", reported);
	json_object_object_add(json, "plain_text", plain_to_json(comparison));
	json_object_object_add(json, "verdict", ctl_text(comparison_verdict(comparison)));
	json_object_object_add(json, "text", ctl_text(text));
	ctl_print_json(json);
}
