/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define STATUS_BYTES_MAX 65536

/* The text of /proc/PID/NAME, at most LIMIT_BYTES; NULL with errno set. */
static char *read_of(pid_t pid, const char *name, size_t limit_bytes)
{
	char path[64];
	char *text = NULL;
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	return read_file_at(AT_FDCWD, path, limit_bytes, &text, NULL) < 0 ? NULL : text;
}

char *proc_status(pid_t pid)
{
	return read_of(pid, "status", STATUS_BYTES_MAX);
}

char *proc_own_status(void)
{
	char *text = NULL;
	return read_file_at(AT_FDCWD, "/proc/self/status", STATUS_BYTES_MAX, &text, NULL) < 0 ? NULL : text;
}

const char *proc_value(const char *text, const char *key)
{
	size_t key_len = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, key_len) == 0 && line[key_len] == ':')
			return line + key_len + 1 + strspn(line + key_len + 1, " \t");
	}
	return NULL;
}

/* The number at AT, which starts with a digit: strtoull(3) alone would go on to the next line, and take a sign. */
static int read_number(const char *at, int base, uint64_t *out)
{
	if (base == 16 ? !isxdigit((unsigned char)*at) : !isdigit((unsigned char)*at))
		return -1;
	errno = 0;
	unsigned long long value = strtoull(at, NULL, base);
	if (errno)
		return -1;
	*out = value;
	return 0;
}

int proc_u64(const char *text, const char *key, int base, uint64_t *out)
{
	const char *value = proc_value(text, key);
	return value ? read_number(value, base, out) : -1;
}

int proc_last_u64(const char *text, const char *key, uint64_t *out)
{
	const char *value = proc_value(text, key);
	if (!value)
		return -1;
	const char *at = value + strcspn(value, "\n");
	while (at > value && isdigit((unsigned char)at[-1]))
		at--;
	return read_number(at, 10, out);
}

char *proc_stat(pid_t pid)
{
	return read_of(pid, "stat", SMALL_FILE_BYTES);
}

/* Field 3 and what follows. The name before it, in parentheses, may hold anything; the last parenthesis ends it. */
static const char *behind_name(const char *text)
{
	const char *name_end = text ? strrchr(text, ')') : NULL;
	return name_end && name_end[1] == ' ' ? name_end + 2 : NULL;
}

char proc_stat_state(const char *text)
{
	const char *state = behind_name(text);
	return state ? *state : '\0';
}

int proc_stat_parse(const char *text, uint64_t fields[STAT_FIELDS])
{
	const char *at = behind_name(text);
	if (!at || at[0] == '\0' || at[1] != ' ')
		return -1;
	at++;
	for (unsigned i = 4; i < STAT_FIELDS; i++) {
		char *end;
		fields[i] = strtoull(at, &end, 10);
		if (end == at)
			return -1;
		at = end;
	}
	return 0;
}

bool proc_may_be_filtered(const char *status)
{
	uint64_t mode;
	return proc_u64(status, "Seccomp", 10, &mode) < 0 || mode != 0;
}
