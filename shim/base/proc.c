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

char *proc_status(pid_t pid)
{
	char path[64];
	char *text = NULL;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	return read_file_at(AT_FDCWD, path, STATUS_BYTES_MAX, &text, NULL) < 0 ? NULL : text;
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
