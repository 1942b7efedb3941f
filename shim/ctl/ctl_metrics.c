/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_metrics.c - hugexecctl metrics: the host's counters in the text form of OpenMetrics 1.0.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "ctl/ctl.h"
#include "report/container_state.h"
#include "report/counters.h"

static const char help[] = "Usage: hugexecctl metrics\n"
                           "Print what hugexec has done on this host since it booted, in the text format of\n"
                           "OpenMetrics.\n"
                           "\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 1 if nothing is counted here; 2 for wrong usage.\n";

static const char *const outcomes[] = {"remapped", "skipped", "failed"};

/* A label's value as the format wants it, and without what could move a terminal's cursor. */
static void print_label(const char *name, const char *value, const char *separator)
{
	char shown[METRICS_REASON_BYTES * 4];
	text_printable(value, shown, sizeof shown);
	printf("%s%s=\"", separator, name);
	for (const char *p = shown; *p; p++) {
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	putchar('"');
}

static void print_labels(const struct metric *metric)
{
	const struct metric_key *key = &metric->key;
	bool other = key->via == 0;
	const char *backing = backing_name((enum backing)key->backing);
	print_label("via", other ? "other" : via_name((enum via)key->via), "{");
	print_label("outcome", other ? "other" : outcomes[key->outcome], ",");
	print_label("backing", other ? "other" : backing ? backing : "none", ",");
	print_label("reason", other ? "other" : key->reason[0] ? key->reason : "none", ",");
}

static void print_family(const char *name, const char *type, const char *unit, const char *text)
{
	printf("# TYPE %s %s\n", name, type);
	if (unit)
		printf("# UNIT %s %s\n", name, unit);
	printf("# HELP %s %s\n", name, text);
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
	print_labels(metric);
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
		print_labels(metric);
		print_label("le", i < METRICS_BUCKETS - 1 ? strchr(limit, '.') ? limit : strcat(limit, ".0") : "+Inf",
		            ",");
		printf("} %" PRIu64 "\n", below);
	}
	printf("%s_sum", name);
	print_labels(metric);
	printf("} %" PRIu64 ".%06" PRIu64 "\n", metric->held_us / 1000000, metric->held_us % 1000000);
	printf("%s_count", name);
	print_labels(metric);
	printf("} %" PRIu64 "\n", below);
}

/* Those that left a record and have not ended; only root may read them. Processes are not counted: that is all smaps.
 */
static void print_containers(void)
{
	struct records records;
	if (geteuid() != 0)
		return;
	records_read(RECORD_DIRECTORY, &records);
	print_family("hugexec_containers", "gauge", NULL, "Containers that run now and came on huge pages.");
	printf("hugexec_containers %zu\n", records.count);
	records_free(&records);
}

static void print_all(const struct metric *metrics, int count)
{
	print_family("hugexec_launches", "counter", NULL, "Launches matched by a policy rule, by outcome and reason.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_launches", &metrics[i], launches(&metrics[i]));
	print_family("hugexec_text_bytes", "counter", "bytes", "Machine code of these programs.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_text_bytes", &metrics[i], metrics[i].text_bytes);
	print_family("hugexec_huge_bytes", "counter", "bytes", "How much of it came on huge pages.");
	for (int i = 0; i < count; i++)
		print_counter("hugexec_huge_bytes", &metrics[i], metrics[i].huge_bytes);
	print_family("hugexec_held_seconds", "histogram", "seconds", "How long the programs were held at their start.");
	for (int i = 0; i < count; i++)
		print_histogram("hugexec_held_seconds", &metrics[i]);
	print_containers();
	puts("# EOF");
}

int ctl_metrics(int argc, char **argv)
{
	static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option = getopt_long(argc, argv, "h", known, NULL);
	if (option == 'h') {
		fputs(help, stdout);
		return CTL_OK;
	}
	if (option != -1)
		return ctl_wrong_usage(argv[0], NULL);
	if (optind < argc)
		return ctl_wrong_usage(argv[0], "it takes no arguments");
	struct metric *metrics = calloc(METRICS_ROWS, sizeof *metrics);
	int count = metrics ? metrics_read(METRICS_FILE, metrics) : -1;
	if (count < 0)
		fprintf(stderr, "hugexecctl: nothing is counted: %s: %s\n", METRICS_FILE,
		        errno == ENOENT ? "there is no such file; systemd-tmpfiles --create makes it"
		                        : strerror(errno));
	else
		print_all(metrics, count);
	free(metrics);
	return count < 0 ? CTL_NO : CTL_OK;
}
