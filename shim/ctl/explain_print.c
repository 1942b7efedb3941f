/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An explanation told to people, and as JSON.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/explain.h"
#include "host/pages.h"
#include "remap/backing.h"
#include "remap/elf_object.h"
#include "remap/text_blocks.h"

#define VALUE_BYTES 4200

static const char *const action_names[] = {[ACTION_SKIP] = "skip",
                                           [ACTION_REMAP] = "remap",
                                           [ACTION_OBSERVE] = "observe",
                                           [ACTION_NOT_UNDERSTOOD] = "skip",
                                           [ACTION_UNDECIDED] = "undecided"};
static const char *const on_error_names[] = {[ON_ERROR_CONTINUE] = "continue", [ON_ERROR_FAIL] = "fail"};

static void print_rule(const struct decision *decision)
{
	char value[VALUE_BYTES];
	const char *action = action_names[decision->action];
	if (!decision->rule_matched)
		snprintf(value, sizeof value, "none matches; the default is %s", action);
	else
		snprintf(value, sizeof value, "%s%s%srule %zu, in %s: %s", decision->rule_name ? "\"" : "",
		         decision->rule_name ? decision->rule_name : "", decision->rule_name ? "\", " : "",
		         decision->rule_index + 1, decision->rule_file, action);
	ctl_print_line("rule", value);
}

/* Add to the list of settings in BUF. */
__attribute__((format(printf, 2, 3))) static void also(char buf[VALUE_BYTES], const char *format, ...)
{
	size_t used = strlen(buf);
	va_list args;
	va_start(args, format);
	vsnprintf(buf + used, VALUE_BYTES - used, format, args);
	va_end(args);
}

/* As a policy writes it; BUF: 16 bytes. */
static const char *duration(unsigned ms, char *buf)
{
	snprintf(buf, 16, "%u%s", ms % 1000 ? ms : ms / 1000, ms % 1000 ? "ms" : "s");
	return buf;
}

/* The settings that decide most always, the others if they are not as they would be without a policy. */
static void print_settings(const struct settings *settings)
{
	char value[VALUE_BYTES] = "", size[16];
	struct settings usual;
	settings_default(&usual);
	also(value, "min_text %s", size_format(settings->min_text_bytes, size, sizeof size));
	if (settings->max_text_bytes != UINT64_MAX)
		also(value, ", max_text %s", size_format(settings->max_text_bytes, size, sizeof size));
	for (unsigned i = 0; i < settings->backing_count; i++)
		also(value, "%s%s", i ? "," : ", backing ", backing_name(settings->backing[i]));
	if (hugetlb_page_bytes(settings) != host_pages()->huge_bytes)
		also(value, ", page_size %s", size_format(hugetlb_page_bytes(settings), size, sizeof size));
	if (settings->libraries)
		also(value, ", libraries%s%s%s", settings->library_include ? " included" : "",
		     settings->library_exclude ? " but those excluded" : "",
		     settings->library_prepare ? " and those to prepare" : "");
	also(value, "%s%s, coverage %s%s", settings->rebase ? "" : ", no rebase",
	     settings->round_out ? ", round_out" : "", coverage_name(settings->coverage),
	     settings->rodata ? ", rodata" : "");
	if (settings->keep_free_pages)
		also(value, ", keep_free %" PRIu64, settings->keep_free_pages);
	if (settings->keep_free_percent)
		also(value, ", keep_free %u%%", settings->keep_free_percent);
	if (settings->file_timeout_ms != usual.file_timeout_ms)
		also(value, ", file_timeout %s", duration(settings->file_timeout_ms, size));
	if (settings->hold_timeout_ms != usual.hold_timeout_ms)
		also(value, ", hold_timeout %s", duration(settings->hold_timeout_ms, size));
	if (settings->follow != FOLLOW_BY_WRAPPER)
		also(value, ", follow %s", follow_name(settings->follow));
	if (settings->follow_timeout_s != usual.follow_timeout_s)
		also(value, ", follow_timeout %u", settings->follow_timeout_s);
	also(value, "%s, on_error %s", settings->perf_map ? ", perf_map" : "", on_error_names[settings->on_error]);
	ctl_print_line("settings", value);
}

static void print_slots(const struct forecast *forecast, uint64_t page_bytes)
{
	char value[VALUE_BYTES], page[16];
	uint64_t fewest = forecast->fewest_bytes / page_bytes;
	uint64_t most = forecast->most_bytes / page_bytes;
	size_format(page_bytes, page, sizeof page);
	if (fewest == most)
		snprintf(value, sizeof value, "%" PRIu64 " whole slot%s of %s", most, most == 1 ? "" : "s", page);
	else
		snprintf(value, sizeof value,
		         "%" PRIu64 " to %" PRIu64 " whole slots of %s; it depends on where the kernel loads it",
		         fewest, most, page);
	ctl_print_line("slots", value);
}

/* How much read-only data would be read into the page cache, if the rule wants that. */
static uint64_t rodata_bytes(const struct explanation *explanation)
{
	struct text_slots slots = {.count = 0};
	if (explanation->decision.settings.rodata && !error_is_set(&explanation->ruled_out))
		text_slots_add_rodata(&explanation->elf, host_pages(), &slots);
	return slots.slot_bytes;
}

static void print_forecast(const struct explanation *explanation)
{
	const struct forecast *forecast = &explanation->forecast;
	const struct settings *settings = &explanation->decision.settings;
	char value[VALUE_BYTES], text[16];
	snprintf(value, sizeof value, "%s at %#" PRIx64 "-%#" PRIx64 "%s%s",
	         size_format(forecast->text_bytes, text, sizeof text), forecast->text_start, forecast->text_end,
	         explanation->build_id[0] ? ", build id " : "", explanation->build_id);
	ctl_print_line("text", value);
	/* Text that the policy does not want was not divided into slots. */
	bool wanted = !error_is_set(&explanation->ruled_out) &&
	              (!error_is_set(&forecast->reason) || forecast->reason.code == REASON_NO_HUGE_SLOT);
	if (wanted)
		print_slots(forecast, host_pages()->huge_bytes);
	if (wanted && hugetlb_page_bytes(settings) != host_pages()->huge_bytes)
		print_slots(&explanation->hugetlb_forecast, hugetlb_page_bytes(settings));
	if (rodata_bytes(explanation) > 0) {
		snprintf(value, sizeof value, "%s more in the page cache, on huge pages with the backing file",
		         size_format(rodata_bytes(explanation), text, sizeof text));
		ctl_print_line("rodata", value);
	}
	if (settings->libraries && !explanation->elf.has_interp && !error_is_set(&explanation->ruled_out))
		ctl_print_line("libraries", "it loads none");
	explained_libraries_print(&explanation->libraries);
}

static void print_outlook(const struct explanation *explanation, const struct backing_outlook *outlook)
{
	char value[VALUE_BYTES], size[16], copied[48], text[ERROR_TEXT_BYTES] = "";
	bool moved = outlook->backing == BACKING_FILE && explanation->forecast.file_needs_rebase;
	if (error_is_set(&outlook->reason))
		error_text(&outlook->reason, text, sizeof text);
	const char *remark = text[0] ? text : outlook->note;
	snprintf(copied, sizeof copied, "%s copied in each process",
	         size_format(outlook->copied_bytes, size, sizeof size));
	if (outlook->verdict == VERDICT_WORKS)
		snprintf(value, sizeof value, "should work here, for %s%s%s%s%s%s",
		         size_format(outlook->bytes, size, sizeof size), outlook->copied_bytes ? " in place and " : "",
		         outlook->copied_bytes ? copied : "", moved ? ", by moving the program" : "",
		         remark[0] ? "; " : "", remark);
	else
		error_text(&outlook->reason, value, sizeof value);
	ctl_print_line(backing_name(outlook->backing), value);
}

static const char *what_comes(const struct conclusion *conclusion)
{
	if (conclusion->starts == VERDICT_FAILS)
		return "it would not be started: its text cannot come on huge pages, and on_error is \"fail\"";
	if (conclusion->starts == VERDICT_UNKNOWN)
		return "its text may come on huge pages; if not, it would not be started: on_error is \"fail\"";
	if (conclusion->libraries == HOPE_LIBRARIES)
		return "its own text would be left alone; text of its libraries may come on huge pages";
	if (conclusion->libraries == HOPE_LATER)
		return "its own text would be left alone; files that it loads when it runs are prepared";
	if (conclusion->remaps == VERDICT_UNKNOWN)
		return "its text may come on huge pages";
	return conclusion->remaps == VERDICT_WORKS ? "its text would come on huge pages"
	                                           : "its text would be left alone";
}

/* The last word, and what else may come of the launch. */
static void print_conclusion(const struct explanation *explanation)
{
	char value[VALUE_BYTES];
	struct conclusion conclusion;
	explain_conclude(explanation, &conclusion);
	ctl_print_line("result", what_comes(&conclusion));
	if (error_is_set(&conclusion.reason))
		ctl_print_line("reason", error_text(&conclusion.reason, value, sizeof value));
	bool goes_on = conclusion.reason.code == REASON_WRAPPER || conclusion.reason.code == REASON_NO_RULE ||
	               is_nothing_to_do(&conclusion.reason);
	if (explanation->program.kind == PROGRAM_FOREIGN)
		ctl_print_line("next",
		               "an emulator that binfmt_misc may have for it is judged as a script's interpreter");
	else if (conclusion.remaps == VERDICT_FAILS && goes_on && explanation->follow != FOLLOW_NONE)
		ctl_print_line("next",
		               explanation->follow == FOLLOW_EXEC
		                   ? "the program that it executes in its place is judged in the same way"
		                   : "the programs that it and its children execute are judged in the same way");
}

void explain_print(const struct explanation *explanation)
{
	char value[VALUE_BYTES];
	for (unsigned i = 0; i < explanation->script_count; i++) {
		const char *next =
		    i + 1 < explanation->script_count ? explanation->scripts[i + 1] : explanation->program.path;
		snprintf(value, sizeof value, "%.2000s is run by %.2000s", explanation->scripts[i], next);
		ctl_print_line("script", value);
	}
	if (explanation->called)
		snprintf(value, sizeof value, "%.2000s, called %.2000s", explanation->program.path,
		         explanation->called);
	ctl_print_line("program", explanation->called ? value : explanation->program.path);
	snprintf(value, sizeof value, "uid %u, unit %s, cgroup %s", (unsigned)geteuid(),
	         explanation->unit[0] ? explanation->unit : "none",
	         explanation->cgroup[0] ? explanation->cgroup : "not known");
	ctl_print_line("started by", value);
	print_rule(&explanation->decision);
	print_settings(&explanation->decision.settings);
	if (!error_is_set(&explanation->elf_error) && explanation->program.kind != PROGRAM_FOREIGN)
		print_forecast(explanation);
	for (unsigned i = 0; i < explanation->outlook_count; i++)
		print_outlook(explanation, &explanation->outlooks[i]);
	print_conclusion(explanation);
}

static json_object *error_to_json(const struct error *error)
{
	char text[ERROR_TEXT_BYTES];
	return error_is_set(error) ? ctl_text(error_text(error, text, sizeof text)) : NULL;
}

/* null: not known. */
static json_object *verdict_to_json(enum verdict verdict)
{
	return verdict == VERDICT_UNKNOWN ? NULL : json_object_new_boolean(verdict == VERDICT_WORKS);
}

static json_object *outlook_to_json(const struct backing_outlook *outlook)
{
	json_object *json = json_object_new_object();
	json_object_object_add(json, "backing", ctl_text(backing_name(outlook->backing)));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(outlook->bytes));
	json_object_object_add(json, "copied_bytes", json_object_new_uint64(outlook->copied_bytes));
	json_object_object_add(json, "possible", verdict_to_json(outlook->verdict));
	json_object_object_add(json, "reason", error_to_json(&outlook->reason));
	return json;
}

static json_object *rule_to_json(const struct decision *decision)
{
	if (!decision->rule_matched)
		return NULL;
	json_object *json = json_object_new_object();
	json_object_object_add(json, "name", ctl_text(decision->rule_name));
	json_object_object_add(json, "number", json_object_new_uint64(decision->rule_index + 1));
	json_object_object_add(json, "file", ctl_text(decision->rule_file));
	return json;
}

/* null: no list. */
static json_object *globs_to_json(char *const *globs)
{
	json_object *json = globs ? json_object_new_array() : NULL;
	for (; globs && *globs; globs++)
		json_object_array_add(json, ctl_text(*globs));
	return json;
}

/* With the policy's own names; sizes in bytes. */
static json_object *settings_to_json(const struct settings *settings)
{
	char keep_free[16], timeout[16];
	json_object *json = json_object_new_object();
	json_object *backings = json_object_new_array();
	for (unsigned i = 0; i < settings->backing_count; i++)
		json_object_array_add(backings, ctl_text(backing_name(settings->backing[i])));
	snprintf(keep_free, sizeof keep_free, "%u%%", settings->keep_free_percent);
	json_object_object_add(json, "min_text", json_object_new_uint64(settings->min_text_bytes));
	json_object_object_add(
	    json, "max_text",
	    settings->max_text_bytes == UINT64_MAX ? NULL : json_object_new_uint64(settings->max_text_bytes));
	json_object_object_add(json, "backing", backings);
	json_object_object_add(json, "page_size", json_object_new_uint64(hugetlb_page_bytes(settings)));
	json_object_object_add(json, "libraries", json_object_new_boolean(settings->libraries));
	json_object_object_add(json, "libraries_include", globs_to_json(settings->library_include));
	json_object_object_add(json, "libraries_exclude", globs_to_json(settings->library_exclude));
	json_object_object_add(json, "libraries_prepare", globs_to_json(settings->library_prepare));
	json_object_object_add(json, "rebase", json_object_new_boolean(settings->rebase));
	json_object_object_add(json, "round_out", json_object_new_boolean(settings->round_out));
	json_object_object_add(json, "coverage", ctl_text(coverage_name(settings->coverage)));
	json_object_object_add(json, "rodata", json_object_new_boolean(settings->rodata));
	json_object_object_add(json, "follow",
	                       settings->follow == FOLLOW_BY_WRAPPER ? NULL : ctl_text(follow_name(settings->follow)));
	json_object_object_add(json, "wrappers", globs_to_json(settings->wrappers));
	json_object_object_add(json, "follow_timeout", json_object_new_int64(settings->follow_timeout_s));
	json_object_object_add(json, "keep_free",
	                       settings->keep_free_percent ? ctl_text(keep_free)
	                                                   : json_object_new_uint64(settings->keep_free_pages));
	json_object_object_add(json, "file_timeout", ctl_text(duration(settings->file_timeout_ms, timeout)));
	json_object_object_add(json, "hold_timeout", ctl_text(duration(settings->hold_timeout_ms, timeout)));
	json_object_object_add(json, "perf_map", json_object_new_boolean(settings->perf_map));
	json_object_object_add(json, "on_error", ctl_text(on_error_names[settings->on_error]));
	return json;
}

void explain_print_json(const struct explanation *explanation)
{
	struct conclusion conclusion;
	explain_conclude(explanation, &conclusion);
	const struct forecast *forecast = &explanation->forecast;
	json_object *json = json_object_new_object();
	json_object *scripts = json_object_new_array();
	json_object *outlooks = json_object_new_array();
	for (unsigned i = 0; i < explanation->script_count; i++)
		json_object_array_add(scripts, ctl_text(explanation->scripts[i]));
	for (unsigned i = 0; i < explanation->outlook_count; i++)
		json_object_array_add(outlooks, outlook_to_json(&explanation->outlooks[i]));
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "scripts", scripts);
	json_object_object_add(json, "exe", ctl_text(explanation->program.path));
	json_object_object_add(json, "called", ctl_text(explanation->called));
	json_object_object_add(json, "build_id", ctl_text(explanation->build_id));
	json_object_object_add(json, "rule", rule_to_json(&explanation->decision));
	json_object_object_add(json, "action", ctl_text(action_names[explanation->decision.action]));
	json_object_object_add(json, "settings", settings_to_json(&explanation->decision.settings));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(forecast->text_bytes));
	json_object_object_add(json, "fewest_huge_bytes", json_object_new_uint64(forecast->fewest_bytes));
	json_object_object_add(json, "most_huge_bytes", json_object_new_uint64(forecast->most_bytes));
	json_object_object_add(json, "rodata_bytes", json_object_new_uint64(rodata_bytes(explanation)));
	json_object_object_add(json, "backings", outlooks);
	json_object_object_add(json, "libraries", explained_libraries_to_json(&explanation->libraries));
	json_object_object_add(json, "libraries_unknown", error_to_json(&explanation->libraries.unknown));
	json_object_object_add(json, "would_remap", verdict_to_json(conclusion.remaps));
	json_object_object_add(json, "would_start", verdict_to_json(conclusion.starts));
	json_object_object_add(json, "reason", error_to_json(&conclusion.reason));
	ctl_print_json(json);
}
