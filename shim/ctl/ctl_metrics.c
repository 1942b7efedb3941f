/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_metrics.c - hugexecctl metrics: the host's counters, and what is there now.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/ctl.h"
#include "ctl/gauges.h"
#include "ctl/metrics_format.h"
#include "report/container_state.h"
#include "report/counters.h"

static const char help[] = "Usage: hugexecctl metrics [OPTIONS]\n"
                           "Print what hugexec has done on this host since it booted, and what it sees there\n"
                           "now, as metrics.\n"
                           "\n"
                           "  --format=FORMAT  openmetrics, or prometheus (for the node exporter's files)\n"
                           "  --no-processes   do not look at processes: it reads smaps of all of them\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 2 for wrong usage.\n";

static const char *const outcomes[] = {"remapped", "skipped", "failed"};

/* What a histogram is told by, and counters by: too many histograms are of no use. */
static void print_kind(const struct metric_key *key)
{
	bool other = key->via == 0;
	const char *backing = backing_name((enum backing)key->backing);
	metric_label("via", other ? METRICS_OTHER : via_name((enum via)key->via), "{");
	metric_label("outcome", other ? METRICS_OTHER : outcomes[key->outcome], ",");
	metric_label("backing", other ? METRICS_OTHER : backing ? backing : "none", ",");
}

static void print_labels(const struct metric_key *key)
{
	bool other = key->via == 0;
	print_kind(key);
	metric_label("reason", other ? METRICS_OTHER : key->reason[0] ? key->reason : METRICS_NONE, ",");
	metric_label("unit", other ? METRICS_OTHER : key->unit[0] ? key->unit : METRICS_NONE, ",");
	metric_label("rule", other ? METRICS_OTHER : key->rule[0] ? key->rule : METRICS_NONE, ",");
	metric_label("namespace", other ? METRICS_OTHER : key->space[0] ? key->space : METRICS_NONE, ",");
}

static uint64_t launches(const struct metric *metric)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		sum += metric->held[i];
	return sum;
}

static void print_counter(const char *name, const struct metric *metric, uint64_t value)
{
	printf("%s_total", name);
	print_labels(&metric->key);
	printf("} %" PRIu64 "\n", value);
}

/* Buckets count all that is at most their limit; count and buckets come from the same numbers, so they agree. */
static void print_histogram(const char *name, const struct metric *metric)
{
	uint64_t below = 0;
	char limit[32];
	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		below += metric->held[i];
		if (i < METRICS_BUCKETS - 1)
			snprintf(limit, sizeof limit, "%.16g", (double)metrics_bucket_us[i] / 1e6);
		printf("%s_bucket", name);
		print_kind(&metric->key);
		metric_label("le", i < METRICS_BUCKETS - 1 ? strchr(limit, '.') ? limit : strcat(limit, ".0") : "+Inf",
		             ",");
		printf("} %" PRIu64 "\n", below);
	}
	printf("%s_sum", name);
	print_kind(&metric->key);
	printf("} %" PRIu64 ".%06" PRIu64 "\n", metric->held_us / 1000000, metric->held_us % 1000000);
	printf("%s_count", name);
	print_kind(&metric->key);
	printf("} %" PRIu64 "\n", below);
}

static bool is_same_kind(const struct metric_key *a, const struct metric_key *b)
{
	return a->via == b->via && (a->via == 0 || (a->outcome == b->outcome && a->backing == b->backing));
}

/* The histograms of all METRICS of one kind in one; METRICS is used up. */
static void print_histograms(const char *name, struct metric *metrics, int count)
{
	for (int i = 0; i < count; i++) {
		if (launches(&metrics[i]) == 0)
			continue;
		for (int j = i + 1; j < count; j++) {
			if (!is_same_kind(&metrics[i].key, &metrics[j].key))
				continue;
			metrics[i].held_us += metrics[j].held_us;
			for (size_t k = 0; k < METRICS_BUCKETS; k++) {
				metrics[i].held[k] += metrics[j].held[k];
				metrics[j].held[k] = 0;
			}
		}
		print_histogram(name, &metrics[i]);
	}
}

/* Those that left a record and have not ended; only root may read them. */
static void print_containers(const struct metrics_format *format)
{
	struct records records;
	if (geteuid() != 0)
		return;
	records_read(RECORD_DIRECTORY, &records);
	metric_gauge(format, "hugexec_containers", "Containers that run now and came on huge pages.", records.count);
	records_free(&records);
}

static void print_counters(const struct metrics_format *format, struct metric *metrics, int count)
{
	metric_family(format, "hugexec_launches", METRIC_COUNTER, NULL,
	              "Launches matched by a policy rule, by outcome and reason.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_launches", &metrics[i], launches(&metrics[i]));
	metric_family(format, "hugexec_text_bytes", METRIC_COUNTER, "bytes", "Machine code of these programs.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_text_bytes", &metrics[i], metrics[i].text_bytes);
	metric_family(format, "hugexec_huge_bytes", METRIC_COUNTER, "bytes", "How much of it came on huge pages.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_huge_bytes", &metrics[i], metrics[i].huge_bytes);
	metric_family(format, "hugexec_observed_bytes", METRIC_COUNTER, "bytes",
	              "How much of it would have, if the rule did not only observe.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_observed_bytes", &metrics[i], metrics[i].observed_bytes);
	metric_family(format, "hugexec_held_seconds", METRIC_HISTOGRAM, "seconds",
	              "How long the programs were held at their start.");
	print_histograms("hugexec_held_seconds", metrics, count);
}

static void print_all(const struct metrics_format *format, bool has_processes)
{
	cleanup_free struct metric *metrics = calloc(METRICS_ROWS, sizeof *metrics);
	int count = metrics ? metrics_read(METRICS_FILE, metrics) : -1;
	int errnum = errno;
	metric_gauge(format, "hugexec_counting", "Whether launches are counted.", count >= 0);
	if (count >= 0)
		print_counters(format, metrics, count);
	gauges_print(format);
	print_containers(format);
	if (has_processes)
		gauges_print_processes(format);
	metrics_end(format);
	if (count < 0)
		fprintf(stderr, "hugexecctl: nothing is counted: %s: %s\n", METRICS_FILE,
		        errnum == ENOENT ? "there is no such file; systemd-tmpfiles --create makes it"
		                         : strerror(errnum));
}

int ctl_metrics(int argc, char **argv)
{
	static const struct option known[] = {{"format", required_argument, NULL, 'f'},
	                                      {"no-processes", no_argument, NULL, 'n'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct metrics_format format = {.is_openmetrics = true};
	bool has_processes = true;
	int option;
	while ((option = ctl_option(argc, argv, "h", known)) != -1) {
		switch (option) {
		case 'f':
			format.is_openmetrics = strcmp(optarg, "openmetrics") == 0;
			if (!format.is_openmetrics && strcmp(optarg, "prometheus") != 0)
				return ctl_wrong_usage(argv[0], "no format '%s': choose openmetrics or prometheus",
				                       optarg);
			break;
		case 'n': has_processes = false; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (optind < argc)
		return ctl_wrong_usage(argv[0], "it takes no arguments");
	print_all(&format, has_processes);
	return CTL_OK;
}
