/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_spawn.h - have a stranger's bytes read by a process that can do nothing else (sandbox_enter.h), and wait for
 * its answer.
 *
 * Readers are hugexec-elf-reader (sandbox/elf/elf_client.h) and hugexec-bundle-reader (of the OCI pieces). What they
 * answer are flat structs, and whoever asks checks them as if the stranger had said it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The reader's descriptors; it has no others but /dev/null below. */
#define READER_FILE_FD   3
#define READER_ANSWER_FD 4
#define READER_SENT_FD   5 /* a file that it was sent */

#define READER_WORDS_MAX 2

/* A reader at work. */
struct reader {
	pid_t pid;
	int answer_fd;
};

/*
 * Start PROGRAM, which is beside the running program or installed, with the file open at FILE_FD (it is not moved) and
 * at most READER_WORDS_MAX WORDS (NULL-terminated) behind our pid. Returns at once: 0, or -1 with ERR, whose word is
 * WORD; then nothing was left behind.
 */
int reader_start(struct reader *reader, const char *program, const char *const *words, int file_fd, enum reason reason,
                 struct error *err);

/*
 * The same for a reader that talks with us: answer_fd is a socket (SOCK_SEQPACKET), by which it can also be sent files,
 * one at a time, that it gets as READER_SENT_FD (sandbox_enter_for_files()).
 */
int reader_start_with_socket(struct reader *reader, const char *program, const char *const *words, int file_fd,
                             enum reason reason, struct error *err);

/* Read until BYTES_WANTED are in OUT, the reader is gone, or DEADLINE_MS (as now_ms()) is over. Returns the bytes got.
 */
size_t reader_read(const struct reader *reader, void *out, size_t bytes_wanted, int64_t deadline_ms);

/* End and reap the reader, whether it has answered or not: one that was taken over might not end by itself. */
void reader_end(struct reader *reader);
