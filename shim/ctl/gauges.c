/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/gauges.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/kill_switch.h"
#include "base/size.h"
#include "config.h"
#include "ctl/enabled_units.h"
#include "ctl/text_objects.h"
#include "host/host.h"
#include "host/pages.h"
#include "policy/policy.h"
#include "report/container_state.h"
#include "report/counters.h"

#define POOLS_MAX         8
#define SMAPS_LIMIT_BYTES (256 * MIB)

static void count_rules(void *context, const char *file, size_t rule_count, const struct error *err)
{
	(void)file;
	if (!err)
		*(size_t *)context += rule_count;
}

static void ignore_mistake(void *context, const char *mistake)
{
	(void)context, (void)mistake;
}

static void print_policy(const struct metrics_format *format)
{
	size_t rules = 0, left_out = 0;
	struct policy *policy = NULL;
	struct policy_sources sources = {
	    .require_root_owned = geteuid() == 0, .leave_out = true, .observe = count_rules, .observe_context = &rules};
	bool is_valid = policy_load(&sources, &policy, NULL, NULL) == 0;
	if (is_valid)
		left_out = policy_each_left_out(policy, ignore_mistake, NULL);
	policy_free(policy);
	metric_gauge(format, "hugexec_policy_valid", "Whether the host's policy can be used.", is_valid);
	metric_gauge(format, "hugexec_policy_rules", "Rules of the host's policy.", is_valid ? rules : 0);
	metric_gauge(format, "hugexec_policy_rules_left_out", "Of these, rules that this version does not understand.",
	             left_out);
}

static void print_pools(const struct metrics_format *format)
{
	uint64_t sizes[POOLS_MAX];
	unsigned count = host_hugetlb_sizes(sizes, POOLS_MAX);
	metric_family(format, "hugexec_pool_pages", METRIC_GAUGE, NULL, "Pages of the hugetlb pools.");
	for (unsigned i = 0; i < count; i++) {
		struct hugetlb_pool pool;
		char size[32];
		if (host_hugetlb_pool(sizes[i], &pool) < 0)
			continue;
		const uint64_t values[] = {pool.total, pool.free, pool.reserved};
		static const char *const states[] = {"total", "free", "reserved"};
		snprintf(size, sizeof size, "%" PRIu64, sizes[i]);
		for (size_t j = 0; j < sizeof states / sizeof states[0]; j++) {
			printf("hugexec_pool_pages");
			metric_label("page_bytes", size, "{");
			metric_label("state", states[j], ",");
			printf("} %" PRIu64 "\n", values[j]);
		}
	}
}

void gauges_print(const struct metrics_format *format)
{
	metric_family(format, "hugexec_build", METRIC_INFO, NULL, "The version of hugexecctl.");
	printf("hugexec_build_info");
	metric_label("version", HUGEXEC_VERSION, "{");
	puts("} 1");
	print_policy(format);
	metric_gauge(format, "hugexec_switched_off", "Whether " KILL_SWITCH_FILE " exists.",
	             access(KILL_SWITCH_FILE, F_OK) == 0);
	print_pools(format);
}

/* What is on huge pages in the processes of one unit, or of the pods of one namespace. */
struct unit_sum {
	struct metric_key label; /* its unit and namespace */
	unsigned processes;
	uint64_t text_bytes, huge_bytes;
};

struct sums {
	struct unit_sum list[METRICS_LABELS_MAX];
	size_t count;
	struct records containers;
	char *enabled[ENABLED_MAX];
	size_t enabled_count;
};

static void note_enabled(void *context, const char *unit, bool runtime)
{
	struct sums *sums = context;
	(void)runtime;
	char *copy = sums->enabled_count < ENABLED_MAX ? strdup(unit) : NULL;
	if (copy)
		sums->enabled[sums->enabled_count++] = copy;
}

/* Whether UNIT, or the template that it is of, is enabled. */
static bool is_enabled(const struct sums *sums, const char *unit)
{
	const char *at = strchr(unit, '@');
	for (size_t i = 0; i < sums->enabled_count; i++) {
		const char *name = sums->enabled[i];
		if (strcmp(name, unit) == 0)
			return true;
		if (at && strncmp(name, unit, (size_t)(at - unit) + 1) == 0 &&
		    strcmp(name + (at - unit) + 1, ".service") == 0)
			return true;
	}
	return false;
}

static struct unit_sum *sum_of(struct sums *sums, const char *unit, const struct record *container)
{
	struct metric_key label = {0};
	metrics_set_unit(&label, unit);
	metrics_set_space(&label, container ? container->pod_namespace : NULL);
	for (size_t i = 0; i < sums->count; i++) {
		if (memcmp(&sums->list[i].label, &label, sizeof label) == 0)
			return &sums->list[i];
	}
	if (sums->count == METRICS_LABELS_MAX) {
		struct metric_key *last = &sums->list[METRICS_LABELS_MAX - 1].label;
		memset(last, 0, sizeof *last);
		strcpy(last->unit, METRICS_OTHER);
		strcpy(last->space, METRICS_OTHER);
		return &sums->list[METRICS_LABELS_MAX - 1];
	}
	sums->list[sums->count].label = label;
	return &sums->list[sums->count++];
}

static void add_process(struct sums *sums, pid_t pid)
{
	char path[64];
	cleanup_free char *smaps = NULL, *unit = host_unit_of(pid);
	struct text_objects objects;
	uint64_t text_bytes = 0, huge_bytes = 0;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	if (read_file_at(AT_FDCWD, path, SMAPS_LIMIT_BYTES, &smaps, NULL) < 0 || text_objects_read(smaps, &objects) < 0)
		return;
	for (size_t i = 0; i < objects.count; i++) {
		const struct text_object *object = &objects.list[i];
		bool is_large = object->text_bytes >= host_pages()->huge_bytes;
		text_bytes += is_large ? object->text_bytes : 0;
		huge_bytes += is_large ? object->huge_bytes : 0;
	}
	text_objects_free(&objects);
	if (huge_bytes == 0 && !(text_bytes > 0 && unit && is_enabled(sums, unit)))
		return;
	struct unit_sum *sum = sum_of(sums, unit, records_find(&sums->containers, pid));
	sum->processes += huge_bytes > 0;
	sum->text_bytes += text_bytes;
	sum->huge_bytes += huge_bytes < text_bytes ? huge_bytes : text_bytes;
}

static uint64_t processes_of(const struct unit_sum *sum)
{
	return sum->processes;
}

static uint64_t text_bytes_of(const struct unit_sum *sum)
{
	return sum->text_bytes;
}

static uint64_t huge_bytes_of(const struct unit_sum *sum)
{
	return sum->huge_bytes;
}

static void print_sums(const struct metrics_format *format, const struct sums *sums, const char *name, const char *unit,
                       const char *help, uint64_t (*value_of)(const struct unit_sum *sum))
{
	metric_family(format, name, METRIC_GAUGE, unit, help);
	for (size_t i = 0; i < sums->count; i++) {
		const struct unit_sum *sum = &sums->list[i];
		printf("%s", name);
		metric_label("unit", sum->label.unit[0] ? sum->label.unit : METRICS_NONE, "{");
		metric_label("namespace", sum->label.space[0] ? sum->label.space : METRICS_NONE, ",");
		printf("} %" PRIu64 "\n", value_of(sum));
	}
}

void gauges_print_processes(const struct metrics_format *format)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	cleanup_free struct sums *sums = proc ? calloc(1, sizeof *sums) : NULL;
	if (!sums)
		return;
	enabled_each(note_enabled, sums);
	if (geteuid() == 0) /* a look removes stale records, which root alone may */
		records_read(RECORD_DIRECTORY, &sums->containers);
	for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
		if (isdigit((unsigned char)entry->d_name[0]))
			add_process(sums, (pid_t)atoi(entry->d_name));
	}
	metric_gauge(format, "hugexec_enabled_units", "Units that hugexecctl enable has named.", sums->enabled_count);
	print_sums(format, sums, "hugexec_processes", NULL, "Processes with text on huge pages.", processes_of);
	print_sums(
	    format, sums, "hugexec_process_text_bytes", "bytes",
	    "Text of these processes, and of those of enabled units, in objects with at least a huge page of it.",
	    text_bytes_of);
	print_sums(format, sums, "hugexec_process_huge_bytes", "bytes", "How much of it is on huge pages.",
	           huge_bytes_of);
	for (size_t i = 0; i < sums->enabled_count; i++)
		free(sums->enabled[i]);
	records_free(&sums->containers);
}
