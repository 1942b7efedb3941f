/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/server_compare.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/size.h"
#include "ctl/comparison.h"
#include "ctl/ctl.h"
#include "ctl/text_objects.h"

#define SLICES            20
#define DEPTH_MAX         16
#define SMAPS_LIMIT_BYTES (256 * MIB)
#define FILE_LIMIT_BYTES  65536

/* What proc_stat_parse() has, counted as in proc(5). */
enum { MINOR = 10, MINOR_OF_CHILDREN, MAJOR, MAJOR_OF_CHILDREN, USER, SYSTEM, USER_OF_CHILDREN, SYSTEM_OF_CHILDREN };

struct usage {
	double cpu_us, faults;
};

struct measured_server {
	double seconds;
	double cpu_us[SLICES], faults[SLICES]; /* a second of each slice */
	uint64_t text_bytes, huge_bytes;       /* of the process itself, at the end */
};

/* Add what PID and all that descend from it have used, children that they have waited for among it. */
static int add_usage(pid_t pid, unsigned depth, struct usage *usage)
{
	uint64_t fields[STAT_FIELDS];
	char path[64];
	cleanup_free char *stat = proc_stat(pid);
	cleanup_free char *children = NULL;
	if (proc_stat_parse(stat, fields) < 0)
		return -1;
	uint64_t ticks = fields[USER] + fields[SYSTEM] + fields[USER_OF_CHILDREN] + fields[SYSTEM_OF_CHILDREN];
	usage->cpu_us += 1e6 * (double)ticks / (double)sysconf(_SC_CLK_TCK);
	usage->faults +=
	    (double)(fields[MINOR] + fields[MAJOR] + fields[MINOR_OF_CHILDREN] + fields[MAJOR_OF_CHILDREN]);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (depth == DEPTH_MAX || read_file_at(AT_FDCWD, path, MIB, &children, NULL) < 0)
		return 0;
	char *rest = children;
	for (char *word; (word = strtok_r(rest, " ", &rest));)
		add_usage((pid_t)strtol(word, NULL, 10), depth + 1, usage);
	return 0;
}

static void look_at_text(pid_t pid, struct measured_server *out)
{
	char path[64];
	struct text_objects objects;
	cleanup_free char *smaps = NULL;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	if (read_file_at(AT_FDCWD, path, SMAPS_LIMIT_BYTES, &smaps, NULL) < 0 || text_objects_read(smaps, &objects) < 0)
		return;
	for (size_t i = 0; i < objects.count; i++) {
		out->text_bytes += objects.list[i].text_bytes;
		out->huge_bytes += objects.list[i].huge_bytes;
	}
	text_objects_free(&objects);
}

/* A second. A child that nobody has waited for takes what it used with it: then it is less than before. */
static double rate(double before, double after, double passed_s)
{
	return after > before ? (after - before) / passed_s : 0;
}

static int measure(pid_t pid, double seconds, struct measured_server *out)
{
	struct usage last = {0}, now;
	*out = (struct measured_server){.seconds = seconds};
	int64_t slice_us = (int64_t)(seconds / SLICES * 1e6), last_us = now_us();
	int result = add_usage(pid, 0, &last);
	for (int64_t i = 0, began_us = last_us; i < SLICES && result == 0; i++) {
		int64_t wait_us = began_us + (i + 1) * slice_us - now_us();
		if (wait_us > 0)
			usleep((useconds_t)wait_us);
		now = (struct usage){0};
		result = add_usage(pid, 0, &now);
		double passed_s = (double)(now_us() - last_us) / 1e6;
		last_us = now_us();
		out->cpu_us[i] = rate(last.cpu_us, now.cpu_us, passed_s);
		out->faults[i] = rate(last.faults, now.faults, passed_s);
		last = now;
	}
	if (result < 0)
		ctl_no_process(pid);
	else
		look_at_text(pid, out);
	return result;
}

static json_object *slices_to_json(const double *values)
{
	json_object *json = json_object_new_array();
	for (int i = 0; i < SLICES; i++)
		json_object_array_add(json, json_object_new_double(values[i]));
	return json;
}

int server_measure_before(pid_t pid, double seconds, const char *file)
{
	struct measured_server server;
	if (measure(pid, seconds, &server) < 0)
		return -1;
	json_object *json = json_object_new_object();
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "seconds", json_object_new_double(server.seconds));
	json_object_object_add(json, "cpu_us", slices_to_json(server.cpu_us));
	json_object_object_add(json, "page_faults", slices_to_json(server.faults));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(server.text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(server.huge_bytes));
	int result = json_object_to_file_ext(file, json, JSON_C_TO_STRING_PLAIN);
	if (result < 0)
		fprintf(stderr, "hugexecctl: %s: %s\n", file, strerror(errno));
	else
		printf("Restart it under hugexec, and when its load is the same again:\n"
		       "  hugexecctl compare --after=%s PID\n",
		       file);
	json_object_put(json);
	return result;
}

static bool number_from_json(json_object *json, double *out)
{
	*out = json_object_get_double(json);
	return json && isfinite(*out) && *out >= 0 && *out < 1e15;
}

static bool slices_from_json(json_object *json, double out[SLICES])
{
	if (!json_object_is_type(json, json_type_array) || json_object_array_length(json) != SLICES)
		return false;
	for (size_t i = 0; i < SLICES; i++) {
		if (!number_from_json(json_object_array_get_idx(json, i), &out[i]))
			return false;
	}
	return true;
}

static int read_before(const char *file, struct measured_server *out)
{
	cleanup_free char *text = NULL;
	double huge_bytes = 0;
	if (read_file_at(AT_FDCWD, file, FILE_LIMIT_BYTES, &text, NULL) < 0) {
		fprintf(stderr, "hugexecctl: %s: %s\n", file, strerror(errno));
		return -1;
	}
	json_object *json = json_tokener_parse(text);
	bool is_right = json_object_is_type(json, json_type_object) &&
	                number_from_json(json_object_object_get(json, "seconds"), &out->seconds) &&
	                out->seconds >= SERVER_SECONDS_MIN && out->seconds <= SERVER_SECONDS_MAX &&
	                slices_from_json(json_object_object_get(json, "cpu_us"), out->cpu_us) &&
	                slices_from_json(json_object_object_get(json, "page_faults"), out->faults) &&
	                number_from_json(json_object_object_get(json, "huge_bytes"), &huge_bytes);
	out->huge_bytes = (uint64_t)huge_bytes;
	json_object_put(json);
	if (!is_right)
		fprintf(stderr, "hugexecctl: %s: not what compare --before has written\n", file);
	return is_right ? 0 : -1;
}

/* One word for programs, and one sentence. */
static const char *judge(const struct measured_server *before, const struct measured_server *after,
                         const struct paired *cpu, char *text, size_t bytes)
{
	char low[16], high[16];
	comparison_format_change(cpu->low, low, sizeof low);
	comparison_format_change(cpu->high, high, sizeof high);
	if (after->huge_bytes <= before->huge_bytes) {
		snprintf(text, bytes,
		         "no more of its text is on huge pages than before, so there is nothing to compare");
		return "not-remapped";
	}
	switch (paired_verdict(cpu)) {
	case PAIRED_LESS:
		snprintf(text, bytes, "less processor time: %.1f to %.1f %%, if the load was the same",
		         -100 * cpu->high, -100 * cpu->low);
		return "less";
	case PAIRED_MORE:
		snprintf(text, bytes, "more processor time: %s to %s %%; or the load was higher", low, high);
		return "more";
	case PAIRED_SAME:
		snprintf(text, bytes, "no difference: less than %.0f %% either way", 100 * PAIRED_SMALL);
		return "same";
	default:
		snprintf(text, bytes, "no difference that stands out from the noise (%s to %s %%)", low, high);
		return "unclear";
	}
}

static void print_json(const struct measured_server *after, const struct measure *measures, const char *verdict,
                       const char *text)
{
	json_object *json = json_object_new_object(), *all = json_object_new_object();
	for (size_t i = 0; i < 2; i++)
		json_object_object_add(all, measures[i].key,
		                       comparison_measure_to_json(&measures[i], "before", "after"));
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "seconds", json_object_new_double(after->seconds));
	json_object_object_add(json, "confidence", json_object_new_double(PAIRED_CONFIDENCE));
	json_object_object_add(json, "measures", all);
	json_object_object_add(json, "text_bytes", json_object_new_uint64(after->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(after->huge_bytes));
	json_object_object_add(json, "verdict", ctl_text(verdict));
	json_object_object_add(json, "text", ctl_text(text));
	ctl_print_json(json);
}

int server_compare_after(pid_t pid, const char *file, bool json)
{
	struct measured_server before = {0}, after;
	struct measure measures[] = {{"cpu", "cpu_us", UNIT_TIME, {0}},
	                             {"page faults", "page_faults", UNIT_COUNT, {0}}};
	char text[256], line[288];
	if (read_before(file, &before) < 0 || measure(pid, before.seconds, &after) < 0 ||
	    paired_compare(before.cpu_us, after.cpu_us, SLICES, &measures[0].paired) < 0 ||
	    paired_compare(before.faults, after.faults, SLICES, &measures[1].paired) < 0)
		return -1;
	const char *verdict = judge(&before, &after, &measures[0].paired, text, sizeof text);
	if (json) {
		print_json(&after, measures, verdict, text);
		return 0;
	}
	snprintf(line, sizeof line,
	         "A second of it, by %d parts of %.0f s: medians; the change, and its %.0f %% interval", SLICES,
	         before.seconds, 100 * PAIRED_CONFIDENCE);
	ctl_print_wrapped(0, line);
	printf("\n%-12s %12s %12s  %9s\n", "", "before", "after", "change");
	for (size_t i = 0; i < 2; i++)
		comparison_print_measure(&measures[i]);
	snprintf(line, sizeof line, "%s.", text);
	putchar('\n');
	ctl_print_wrapped(0, line);
	return 0;
}
