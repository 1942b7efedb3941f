#include "ctl/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/probe.h"
#include "engine/backing.h"

#define VALUE_BYTES 4200

static void look_at_file(const struct explanation *explanation, struct backing_outlook *outlook)
{
	struct probe probe;
	char directory[PATH_MAX];
	const struct settings *settings = &explanation->decision.settings;
	outlook->bytes = explanation->forecast.file_bytes;
	if (outlook->bytes == 0) {
		error_set(&outlook->reason, "file-misaligned", "offset and address of its text differ modulo 2 MiB%s",
		          settings->rebase ? ", or no whole slot lies inside" : ", and rebase is off");
		return;
	}
	snprintf(directory, sizeof directory, "%s", explanation->program.path);
	char *slash = strrchr(directory, '/');
	if (slash && slash != directory)
		*slash = '\0';
	probe_file(directory, &probe);
	outlook->possible = probe.verdict == VERDICT_WORKS ? 1 : probe.verdict == VERDICT_FAILS ? 0 : -1;
	if (probe.verdict != VERDICT_WORKS)
		error_set(&outlook->reason, probe.verdict == VERDICT_FAILS ? "file-unsupported" : "unknown", "%s",
		          probe.text);
}

static void look_at_copy(const struct backing_copy *backing, uint64_t bytes, const struct settings *settings,
                         struct backing_outlook *outlook)
{
	struct probe probe = {.verdict = VERDICT_WORKS};
	outlook->bytes = bytes;
	outlook->possible = backing->check(getpid(), bytes, settings, &outlook->reason) == 0;
	if (!outlook->possible)
		return;
	if (backing->backing == BACKING_THP)
		probe_thp(&probe);
	else
		probe_hugetlb(settings->page_size_bytes, &probe);
	outlook->possible = probe.verdict == VERDICT_WORKS;
	if (!outlook->possible)
		error_set(&outlook->reason, backing_name(backing->backing), "%s", probe.text);
}

void explain_plan(struct explanation *explanation)
{
	const struct settings *settings = &explanation->decision.settings;
	if (error_is_set(&explanation->elf_error))
		return;
	forecast_make(&explanation->elf, settings, settings->page_size_bytes, &explanation->forecast);
	uint64_t bytes = explanation->forecast.most_bytes;
	uint64_t file_bytes = explanation->forecast.file_bytes;
	for (unsigned i = 0; (bytes | file_bytes) > 0 && i < settings->backing_count; i++) {
		struct backing_outlook *outlook = &explanation->outlooks[explanation->outlook_count++];
		outlook->backing = settings->backing[i];
		if (outlook->backing == BACKING_FILE)
			look_at_file(explanation, outlook);
		else
			look_at_copy(outlook->backing == BACKING_THP ? &backing_thp : &backing_hugetlb, bytes, settings,
			             outlook);
	}
}

bool explain_would_remap(const struct explanation *explanation, struct error *reason)
{
	const struct program *program = &explanation->program;
	if (explanation->decision.action != ACTION_REMAP)
		return error_set(reason, explanation->decision.rule_matched ? "rule-skip" : "no-rule",
		                 explanation->decision.rule_matched ? "the rule says to leave it alone"
		                                                    : "no rule matches") == 0;
	if (program->kind == PROGRAM_FOREIGN)
		return error_set(reason, "not-native", "not a program for this processor's 64-bit mode") == 0;
	if (program->privileged && !probe_has_cap_sys_ptrace())
		return error_set(reason, "privileged-program",
		                 "tracing it would withhold its privileges; run hugexec as root") == 0;
	if (error_is_set(&explanation->elf_error) ||
	    (explanation->forecast.most_bytes == 0 && explanation->forecast.file_bytes == 0)) {
		if (reason)
			*reason = error_is_set(&explanation->elf_error) ? explanation->elf_error
			                                                : explanation->forecast.reason;
		return false;
	}
	for (unsigned i = 0; i < explanation->outlook_count; i++) {
		if (explanation->outlooks[i].possible)
			return true;
	}
	return error_set(reason, "no-backing", "none of the rule's backings could carry it out here") == 0;
}

static void line(const char *name, const char *value)
{
	char shown[VALUE_BYTES];
	printf("%-10s %s\n", name, text_printable(value, shown, sizeof shown));
}

static void print_rule(const struct decision *decision)
{
	char value[VALUE_BYTES];
	const char *action = decision->action == ACTION_REMAP  ? "remap"
	                     : decision->action == ACTION_SKIP ? "skip"
	                                                       : "undecided";
	if (!decision->rule_matched)
		snprintf(value, sizeof value, "none matches: the default, %s", action);
	else
		snprintf(value, sizeof value, "%s%s%s(rule %zu of all, from %s): %s", decision->rule_name ? "\"" : "",
		         decision->rule_name ? decision->rule_name : "", decision->rule_name ? "\" " : "",
		         decision->rule_index + 1, decision->rule_file, action);
	line("rule", value);
}

static void print_settings(const struct settings *settings)
{
	static const char *const follows[] = {"none", "exec", "fork"};
	char value[VALUE_BYTES], least[16], most[16], page[16], backings[64] = "";
	for (unsigned i = 0; i < settings->backing_count; i++)
		snprintf(backings + strlen(backings), sizeof backings - strlen(backings), "%s%s", i ? "," : "",
		         backing_name(settings->backing[i]));
	snprintf(value, sizeof value, "min_text %s, max_text %s, backing %s, page_size %s, follow %s%s%s, on_error %s",
	         size_format(settings->min_text_bytes, least, sizeof least),
	         settings->max_text_bytes == UINT64_MAX ? "none"
	                                                : size_format(settings->max_text_bytes, most, sizeof most),
	         backings, size_format(settings->page_size_bytes, page, sizeof page), follows[settings->follow],
	         settings->round_out ? ", round_out" : "", settings->libraries ? ", libraries" : "",
	         settings->on_error == ON_ERROR_FAIL ? "fail" : "continue");
	line("settings", value);
}

static void print_forecast(const struct explanation *explanation)
{
	const struct forecast *forecast = &explanation->forecast;
	uint64_t page_bytes = explanation->decision.settings.page_size_bytes;
	char value[VALUE_BYTES], text[16], page[16];
	snprintf(value, sizeof value, "%s at %#" PRIx64 "-%#" PRIx64 "%s%s",
	         size_format(forecast->text_bytes, text, sizeof text), forecast->text_start, forecast->text_end,
	         explanation->build_id[0] ? ", build id " : "", explanation->build_id);
	line("text", value);
	size_format(page_bytes, page, sizeof page);
	if (forecast->fewest_bytes == forecast->most_bytes)
		snprintf(value, sizeof value, "%" PRIu64 " whole slots of %s", forecast->most_bytes / page_bytes, page);
	else
		snprintf(value, sizeof value,
		         "%" PRIu64 " to %" PRIu64 " whole slots of %s, by where the kernel loads it",
		         forecast->fewest_bytes / page_bytes, forecast->most_bytes / page_bytes, page);
	line("slots", value);
}

void explain_print(const struct explanation *explanation)
{
	struct error reason = {0};
	char value[VALUE_BYTES];
	for (unsigned i = 0; i < explanation->script_count; i++) {
		const char *next =
		    i + 1 < explanation->script_count ? explanation->scripts[i + 1] : explanation->program.path;
		snprintf(value, sizeof value, "%.2000s is run by %.2000s", explanation->scripts[i], next);
		line("script", value);
	}
	line("program", explanation->program.path);
	snprintf(value, sizeof value, "uid %u, unit %s, cgroup %s", (unsigned)geteuid(),
	         explanation->unit[0] ? explanation->unit : "none",
	         explanation->cgroup[0] ? explanation->cgroup : "none");
	line("started by", value);
	print_rule(&explanation->decision);
	print_settings(&explanation->decision.settings);
	if (!error_is_set(&explanation->elf_error))
		print_forecast(explanation);
	for (unsigned i = 0; i < explanation->outlook_count; i++) {
		const struct backing_outlook *outlook = &explanation->outlooks[i];
		char size[16];
		if (outlook->possible == 1)
			snprintf(value, sizeof value, "could work here: %s%s",
			         size_format(outlook->bytes, size, sizeof size),
			         outlook->backing == BACKING_FILE && explanation->forecast.file_needs_rebase
			             ? ", by moving the program"
			             : "");
		else
			error_text(&outlook->reason, value, sizeof value);
		line(backing_name(outlook->backing), value);
	}
	bool remap = explain_would_remap(explanation, &reason);
	line("so", remap ? "its text would come on huge pages" : "it would be left alone");
	if (!remap)
		line("because", error_text(&reason, value, sizeof value));
}

static json_object *error_to_json(const struct error *error)
{
	char text[sizeof *error + 2];
	return error_is_set(error) ? ctl_text(error_text(error, text, sizeof text)) : NULL;
}

static json_object *outlook_to_json(const struct backing_outlook *outlook)
{
	json_object *json = json_object_new_object();
	json_object_object_add(json, "backing", ctl_text(backing_name(outlook->backing)));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(outlook->bytes));
	json_object_object_add(json, "possible",
	                       outlook->possible < 0 ? NULL : json_object_new_boolean(outlook->possible));
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

void explain_print_json(const struct explanation *explanation)
{
	struct error reason = {0};
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
	json_object_object_add(json, "build_id", ctl_text(explanation->build_id));
	json_object_object_add(json, "rule", rule_to_json(&explanation->decision));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(forecast->text_bytes));
	json_object_object_add(json, "fewest_huge_bytes", json_object_new_uint64(forecast->fewest_bytes));
	json_object_object_add(json, "most_huge_bytes", json_object_new_uint64(forecast->most_bytes));
	json_object_object_add(json, "backings", outlooks);
	json_object_object_add(json, "would_remap", json_object_new_boolean(explain_would_remap(explanation, &reason)));
	json_object_object_add(json, "reason", error_to_json(&reason));
	ctl_print_json(json);
}
