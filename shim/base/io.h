/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.h - small reads and writes that are bounded and never half done.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* More than any file of a line or a few has, as in /proc, sysfs and cgroupfs. */
#define SMALL_FILE_BYTES (8 * 1024)

/*
 * Read all of FD, at most LIMIT_BYTES, into a fresh NUL-terminated buffer at *OUT (free() it); *OUT_BYTES (may be NULL)
 * gets the length. Made for /proc files, which have no size beforehand.
 * Returns 0; -1 with errno set, EFBIG if there is more than LIMIT_BYTES; then *OUT is untouched.
 */
int read_all(int fd, size_t limit_bytes, char **out, size_t *out_bytes);

/* As read_all() of the file at PATH, opened relative to DIR_FD (AT_FDCWD for the usual) without blocking on a FIFO. */
int read_file_at(int dir_fd, const char *path, size_t limit_bytes, char **out, size_t *out_bytes);

/* Close every descriptor but KEPT, which is not 0; -1: all. */
void close_all_but(int kept);

/* Write all BYTES of DATA to FD, going on after short writes and EINTR. Returns 0, or -1 with errno set. */
int write_all(int fd, const void *data, size_t bytes);

/* The decimal number in the file at PATH, as in sysfs and cgroupfs. Returns 0, or -1 with errno set (EINVAL: no
 * number). */
int read_number_file(const char *path, uint64_t *out);
