/* SPDX-License-Identifier: Apache-2.0 */
#include "report/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "host/host.h"

#define MAGIC UINT64_C(0x0003637278656768) /* "hgexrc", layout 3 */

const uint64_t metrics_bucket_us[METRICS_BUCKETS - 1] = {500,   1000,   2500,   5000,   10000,  25000,
                                                         50000, 100000, 250000, 500000, 1000000};

/* How far a row is: one process takes it and fills in the key; it counts from then on. */
enum { ROW_FREE, ROW_TAKEN, ROW_READY };

struct row {
	uint32_t state;
	uid_t uid; /* who took it */
	struct metric_key key;
	uint64_t text_bytes, huge_bytes, observed_bytes, held_us;
	uint64_t held[METRICS_BUCKETS];
};

struct table {
	uint64_t magic;
	struct row rows[METRICS_ROWS];
};

/*
 * Give the empty file its size, and memory: on a tmpfs that is full a page of a hole would be a SIGBUS. Twice is as
 * once. A launch that may not write files of this size would get a SIGXFSZ, so somebody else has to.
 */
static int begin_table(int fd)
{
	struct rlimit limit;
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0 || getrlimit(RLIMIT_FSIZE, &limit) < 0 ||
	    limit.rlim_cur < sizeof(struct table))
		return -1;
	return fallocate(fd, 0, 0, sizeof(struct table));
}

/* A file that others may write is refused: they could cut it short, and then touching the mapping is a SIGBUS. */
static bool is_trusted(const struct stat *about)
{
	return S_ISREG(about->st_mode) && about->st_uid == 0 && !(about->st_mode & (S_IWGRP | S_IWOTH));
}

/* Map FILE shared, read-only or to add to it. */
static struct table *map_table(const char *file, bool to_write)
{
	struct stat about;
	cleanup_close int fd =
	    open(file, (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &about) < 0)
		return NULL;
	errno = EBADMSG;
	if (!is_trusted(&about))
		return NULL;
	if (to_write && about.st_size == 0 && begin_table(fd) == 0)
		about.st_size = sizeof(struct table);
	if (about.st_size != sizeof(struct table))
		return NULL;
	void *map = mmap(NULL, sizeof(struct table), PROT_READ | (to_write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

void metrics_begin(const char *file)
{
	struct stat about;
	cleanup_close int fd = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && fstat(fd, &about) == 0 && is_trusted(&about) && about.st_size == 0)
		fallocate(fd, 0, 0, sizeof(struct table));
}

static bool has_magic(struct table *table)
{
	uint64_t found = 0;
	return __atomic_compare_exchange_n(&table->magic, &found, MAGIC, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
	       found == MAGIC;
}

static bool is_row_of(const struct row *row, const struct metric_key *key)
{
	return memcmp(&row->key, key, sizeof *key) == 0;
}

/* The row of KEY; NULL: there is none. Rows are taken in order, so none is behind a free one. */
static struct row *find_row(struct table *table, const struct metric_key *key)
{
	for (size_t i = 0; i < METRICS_ROWS - 1; i++) {
		struct row *row = &table->rows[i];
		uint32_t state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
		if (state == ROW_FREE)
			return NULL;
		if (state == ROW_READY && is_row_of(row, key))
			return row;
	}
	return NULL;
}

/*
 * Let TEXT, which stands OFFSET bytes into a key of UID's, be METRICS_OTHER if so many others have a label of their
 * own. For root only root's count, as users can make up names of rules.
 */
static void bound_label(const struct table *table, size_t offset, char *text, uid_t uid)
{
	const char *seen[METRICS_LABELS_MAX];
	size_t count = 0;
	if (!text[0])
		return;
	for (size_t i = 0; i < METRICS_ROWS - 1; i++) {
		const struct row *row = &table->rows[i];
		uint32_t state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
		const char *label = (const char *)&row->key + offset;
		size_t known = 0;
		if (state == ROW_FREE)
			return;
		if (state != ROW_READY || !label[0] || strcmp(label, METRICS_OTHER) == 0)
			continue;
		if (strcmp(label, text) == 0)
			return;
		if (uid == 0 && row->uid != 0)
			continue;
		while (known < count && strcmp(seen[known], label) != 0)
			known++;
		if (known < count)
			continue;
		if (count == METRICS_LABELS_MAX - 1) {
			memset(text, 0, strlen(text));
			strcpy(text, METRICS_OTHER);
			return;
		}
		seen[count++] = label;
	}
}

/* Whether UID may take one more row: nobody but root can keep the others from having some. */
static bool may_take_row(const struct table *table, uid_t uid)
{
	size_t own = 0, of_users = 0;
	for (size_t i = 0; uid != 0 && i < METRICS_ROWS - 1; i++) {
		const struct row *row = &table->rows[i];
		if (__atomic_load_n(&row->state, __ATOMIC_ACQUIRE) != ROW_READY)
			continue;
		own += row->uid == uid;
		of_users += row->uid != 0;
	}
	return own < METRICS_ROWS_OF_USER && of_users < METRICS_ROWS_OF_USERS;
}

/*
 * The row of KEY, taken by UID if there is none. One that another process is just taking, or was when it was killed, is
 * passed over: at worst there are two rows of one kind, which the reader adds up. The last row is for what finds no
 * other.
 */
static struct row *take_row(struct table *table, const struct metric_key *wanted, uid_t uid)
{
	struct metric_key key = *wanted;
	struct row *found = find_row(table, &key);
	if (found)
		return found;
	bound_label(table, offsetof(struct metric_key, unit), key.unit, uid);
	bound_label(table, offsetof(struct metric_key, rule), key.rule, uid);
	bound_label(table, offsetof(struct metric_key, space), key.space, uid);
	for (size_t i = 0; i < METRICS_ROWS - 1; i++) {
		struct row *row = &table->rows[i];
		uint32_t state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
		if (state == ROW_READY && is_row_of(row, &key))
			return row;
		if (state == ROW_FREE && !may_take_row(table, uid))
			break;
		if (state == ROW_FREE && __atomic_compare_exchange_n(&row->state, &state, ROW_TAKEN, false,
		                                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			row->key = key;
			row->uid = uid;
			__atomic_store_n(&row->state, ROW_READY, __ATOMIC_RELEASE);
			return row;
		}
	}
	struct row *last = &table->rows[METRICS_ROWS - 1];
	__atomic_store_n(&last->state, ROW_READY, __ATOMIC_RELEASE);
	return last;
}

static void add(uint64_t *counter, uint64_t value)
{
	__atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void metrics_set_unit(struct metric_key *key, const char *name)
{
	static const char suffix[] = ".service";
	size_t length = name ? strlen(name) : 0;
	memset(key->unit, 0, sizeof key->unit);
	if (length < sizeof suffix || strcmp(name + length - (sizeof suffix - 1), suffix) != 0)
		return;
	if (strncmp(name, "run-", 4) == 0)
		name = "run-*.service";
	else if (strncmp(name, "user@", 5) == 0)
		name = "user@*.service";
	memcpy(key->unit, name, strnlen(name, sizeof key->unit - 1));
}

void metrics_set_space(struct metric_key *key, const char *name)
{
	char shown[sizeof key->space];
	memset(key->space, 0, sizeof key->space);
	text_printable(name ? name : "", shown, sizeof shown);
	if (strcmp(shown, METRICS_NONE) != 0)
		memcpy(key->space, shown, strlen(shown));
}

void metrics_count_of(const struct report *report, struct count *out)
{
	const char *word = reason_word(report->reason.code);
	memset(out, 0, sizeof *out);
	out->key.via = (uint8_t)report->via;
	out->key.outcome = (uint8_t)report->outcome;
	out->key.backing = (int8_t)report->backing;
	memcpy(out->key.reason, word, strnlen(word, sizeof out->key.reason - 1));
	memcpy(out->key.rule, report->rule, strnlen(report->rule, sizeof out->key.rule - 1));
	metrics_set_space(&out->key, report->container ? report->container->pod_namespace : NULL);
	out->text_bytes = report->text_bytes;
	out->huge_bytes = report->huge_bytes;
	out->observed_bytes = report->observed_bytes;
	out->held_us = report->latency_us;
}

static void add_count(struct row *row, const struct count *count)
{
	size_t bucket = 0;
	while (bucket < METRICS_BUCKETS - 1 && count->held_us > metrics_bucket_us[bucket])
		bucket++;
	add(&row->text_bytes, count->text_bytes);
	add(&row->huge_bytes, count->huge_bytes);
	add(&row->observed_bytes, count->observed_bytes);
	add(&row->held_us, count->held_us);
	add(&row->held[bucket], 1);
}

bool metrics_add_count(const char *file, const struct count *count, uid_t uid)
{
	struct table *table = map_table(file, true);
	if (!table)
		return false;
	bool is_ours = has_magic(table);
	if (is_ours)
		add_count(take_row(table, &count->key, uid), count);
	munmap(table, sizeof *table);
	return is_ours;
}

bool metrics_add(const char *file, const struct report *report)
{
	struct count count;
	if (access(file, W_OK) < 0)
		return false;
	cleanup_free char *unit = host_unit_of(report->pid);
	metrics_count_of(report, &count);
	metrics_set_unit(&count.key, unit);
	return metrics_add_count(file, &count, 0);
}

bool metrics_is_sound(const struct metric_key *key)
{
	return (key->via == 0 || key->via == VIA_SHIM || key->via == VIA_HOOK || key->via == VIA_ATTACH) &&
	       key->outcome <= OUTCOME_FAILED && key->backing >= BACKING_NONE && key->backing < BACKING_COUNT &&
	       memchr(key->reason, '\0', METRICS_REASON_BYTES) && memchr(key->unit, '\0', METRICS_UNIT_BYTES) &&
	       memchr(key->rule, '\0', METRICS_RULE_BYTES) && memchr(key->space, '\0', METRICS_SPACE_BYTES);
}

/*
 * Let TEXT, of BYTES, be what is shown of it, and METRICS_NONE be as nothing: two rows whose labels are shown alike are
 * one, or whoever scrapes them would refuse all.
 */
static void show_label(char *text, size_t bytes)
{
	char shown[METRICS_UNIT_BYTES];
	text_printable(text, shown, bytes < sizeof shown ? bytes : sizeof shown);
	memset(text, 0, bytes);
	if (strcmp(shown, METRICS_NONE) != 0)
		memcpy(text, shown, strlen(shown));
}

static struct metric *find_metric(struct metric *list, size_t *count, const struct metric_key *key)
{
	for (size_t i = 0; i < *count; i++) {
		if (memcmp(&list[i].key, key, sizeof *key) == 0)
			return &list[i];
	}
	list[*count] = (struct metric){.key = *key};
	return &list[(*count)++];
}

static void read_row(const struct row *row, bool is_last, struct metric *out, size_t *count)
{
	struct metric_key key = {0};
	if (__atomic_load_n(&row->state, __ATOMIC_ACQUIRE) != ROW_READY)
		return;
	if (!is_last)
		key = row->key;
	if (!metrics_is_sound(&key))
		return;
	show_label(key.unit, sizeof key.unit);
	show_label(key.rule, sizeof key.rule);
	show_label(key.space, sizeof key.space);
	struct metric *metric = find_metric(out, count, &key);
	metric->text_bytes += load(&row->text_bytes);
	metric->huge_bytes += load(&row->huge_bytes);
	metric->observed_bytes += load(&row->observed_bytes);
	metric->held_us += load(&row->held_us);
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		metric->held[i] += load(&row->held[i]);
}

int metrics_read(const char *file, struct metric *out)
{
	struct stat about;
	struct table *table = map_table(file, false);
	if (!table)
		return lstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size == 0 ? 0 : -1;
	size_t count = 0;
	int result = -1;
	if (table->magic == MAGIC || table->magic == 0) {
		for (size_t i = 0; i < METRICS_ROWS; i++)
			read_row(&table->rows[i], i == METRICS_ROWS - 1, out, &count);
		result = (int)count;
	}
	munmap(table, sizeof *table);
	if (result < 0)
		errno = EBADMSG;
	return result;
}
