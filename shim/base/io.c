/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/retry.h"

int read_all(int fd, size_t limit_bytes, char **out, size_t *out_bytes)
{
	size_t capacity = SMALL_FILE_BYTES;
	size_t used = 0;
	cleanup_free char *buf = malloc(capacity);
	if (!buf)
		return -1;
	for (;;) {
		ssize_t got = retry(read(fd, buf + used, capacity - 1 - used));
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
		if (used > limit_bytes) {
			errno = EFBIG;
			return -1;
		}
		if (capacity - 1 - used < SMALL_FILE_BYTES / 2) {
			char *larger = realloc(buf, capacity * 2);
			if (!larger)
				return -1;
			buf = larger;
			capacity *= 2;
		}
	}
	buf[used] = '\0';
	*out = buf;
	buf = NULL;
	if (out_bytes)
		*out_bytes = used;
	return 0;
}

int read_file_at(int dir_fd, const char *path, size_t limit_bytes, char **out, size_t *out_bytes)
{
	cleanup_close int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	return read_all(fd, limit_bytes, out, out_bytes);
}

void close_all_but(int kept)
{
	close_range(0, kept < 0 ? ~0U : (unsigned)kept - 1, 0);
	if (kept >= 0)
		close_range((unsigned)kept + 1, ~0U, 0);
}

int write_all(int fd, const void *data, size_t bytes)
{
	const char *p = data;
	while (bytes > 0) {
		ssize_t put = retry(write(fd, p, bytes));
		if (put < 0)
			return -1;
		p += put;
		bytes -= (size_t)put;
	}
	return 0;
}

int read_number_file(const char *path, uint64_t *out)
{
	cleanup_free char *text = NULL;
	if (read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &text, NULL) < 0)
		return -1;
	if (!isdigit((unsigned char)text[0])) {
		errno = EINVAL;
		return -1;
	}
	errno = 0;
	unsigned long long value = strtoull(text, NULL, 10);
	if (errno)
		return -1;
	*out = value;
	return 0;
}
