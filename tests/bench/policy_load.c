/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_load [RULES] - what a policy costs a launch: reading and parsing a file of that many rules (200), and asking
 * all of them about a program that none matches. Prints microseconds, the median of many rounds.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policy/policy.h"

#define ROUNDS 501

static double now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof values[0], by_value);
	return values[ROUNDS / 2];
}

static int write_policy(const char *path, int rules)
{
	FILE *stream = fopen(path, "w");
	if (!stream)
		return -1;
	fputs("{\n  \"version\": 1,\n  \"default\": \"skip\",\n  \"rules\": [\n", stream);
	for (int i = 0; i < rules; i++)
		fprintf(stream,
		        "    { \"name\": \"service number %d\", \"match\": { \"exe\": "
		        "[\"/opt/service-%d/bin/*-server\"] },\n"
		        "      \"min_text\": \"4M\", \"libraries\": true }%s\n",
		        i, i, i + 1 < rules ? "," : "");
	fputs("  ]\n}\n", stream);
	return fclose(stream);
}

int main(int argc, char **argv)
{
	static double load_us[ROUNDS], decide_us[ROUNDS];
	char path[] = "/tmp/policy-load-XXXXXX";
	int rules = argc > 1 ? atoi(argv[1]) : 200;
	int fd = mkstemp(path);
	struct stat st = {0};
	struct error err = {0};
	if (fd < 0 || write_policy(path, rules) < 0 || fstat(fd, &st) < 0) {
		perror(path);
		return 1;
	}
	struct policy_sources sources = {.file = path};
	struct match_input facts = {.via = VIA_SHIM, .exe = "/usr/lib/postgresql/15/bin/postgres"};
	bool failed = false;
	for (int i = 0; i < ROUNDS && !failed; i++) {
		struct policy *policy = NULL;
		struct decision decision;
		double start = now_us();
		failed = policy_load(&sources, &policy, NULL, &err) < 0;
		double loaded = now_us();
		if (failed)
			break;
		policy_decide(policy, &facts, &decision);
		decide_us[i] = now_us() - loaded;
		load_us[i] = loaded - start;
		failed = decision.rule_matched;
		policy_free(policy);
	}
	unlink(path);
	close(fd);
	if (failed) {
		fprintf(stderr, "%s %s\n", reason_word(err.code), err.detail);
		return 1;
	}
	double first = load_us[0];
	printf("%d rules, %jd bytes: load %.0f us (the first time %.0f), decide %.0f us\n", rules, (intmax_t)st.st_size,
	       median(load_us), first, median(decide_us));
	return 0;
}
