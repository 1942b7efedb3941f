/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "config.h"

/* PROGRAM beside the running program (a build folder, a node), else the installed one, into BUF. */
static const char *find_program(const char *program, char *buf, size_t buf_bytes)
{
	ssize_t got = readlink("/proc/self/exe", buf, buf_bytes - 1);
	buf[got > 0 ? got : 0] = '\0';
	char *slash = strrchr(buf, '/');
	if (slash && (size_t)(slash + 1 - buf) + strlen(program) < buf_bytes) {
		strcpy(slash + 1, program);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	snprintf(buf, buf_bytes, HUGEXEC_LIBEXECDIR "/%s", program);
	return buf;
}

/* Descriptors for the reader: nothing but the file and the pipe. */
static int set_up_files(posix_spawn_file_actions_t *actions, int file_fd, int answer_fd)
{
	/* Both go above the targets first, or one could overwrite the other. */
	int failed = posix_spawn_file_actions_adddup2(actions, file_fd, READER_FILE_FD);
	failed |= posix_spawn_file_actions_adddup2(actions, answer_fd, READER_ANSWER_FD);
	for (int fd = 0; fd < READER_FILE_FD; fd++)
		failed |= posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
	failed |= posix_spawn_file_actions_addclosefrom_np(actions, READER_ANSWER_FD + 1);
	return failed;
}

static int spawn_reader(pid_t *pid, const char *program, const char *const *words, int file_fd, int answer_fd)
{
	char path[PATH_MAX], parent[16];
	char *argv[READER_WORDS_MAX + 3] = {(char *)program, parent};
	char *const no_environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	for (int i = 0; i < READER_WORDS_MAX && words[i]; i++)
		argv[2 + i] = (char *)words[i];
	snprintf(parent, sizeof parent, "%d", (int)getpid());
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	int failed = set_up_files(&actions, file_fd, answer_fd);
	if (!failed)
		failed = posix_spawn(pid, find_program(program, path, sizeof path), &actions, &attributes, argv,
		                     no_environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return failed;
}

/* Start PROGRAM with ENDS[1] for its answer; the reader keeps ENDS[0]. Both are closed if that fails. */
static int start(struct reader *reader, const char *program, const char *const *words, int file_fd, const int ends[2],
                 enum reason reason, struct error *err)
{
	/* Out of the way of the numbers that the reader has them under. */
	cleanup_close int high_file = fcntl(file_fd, F_DUPFD_CLOEXEC, 10);
	cleanup_close int high_answer = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
	close(ends[1]);
	int failed = EMFILE;
	if (high_file >= 0 && high_answer >= 0)
		failed = spawn_reader(&reader->pid, program, words, high_file, high_answer);
	if (failed) {
		close(ends[0]);
		return error_set_errno(err, failed, reason, "starting %s", program);
	}
	reader->answer_fd = ends[0];
	return 0;
}

int reader_start(struct reader *reader, const char *program, const char *const *words, int file_fd, enum reason reason,
                 struct error *err)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, reason, "pipe");
	return start(reader, program, words, file_fd, ends, reason, err);
}

int reader_start_with_socket(struct reader *reader, const char *program, const char *const *words, int file_fd,
                             enum reason reason, struct error *err)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(err, errno, reason, "socketpair");
	return start(reader, program, words, file_fd, ends, reason, err);
}

size_t reader_read(const struct reader *reader, void *out, size_t bytes_wanted, int64_t deadline_ms)
{
	size_t got = 0;
	while (got < bytes_wanted) {
		int64_t left_ms = deadline_ms - now_ms();
		struct pollfd poll_fd = {.fd = reader->answer_fd, .events = POLLIN};
		if (left_ms <= 0 || retry(poll(&poll_fd, 1, (int)left_ms)) <= 0)
			break;
		ssize_t bytes = retry(read(reader->answer_fd, (char *)out + got, bytes_wanted - got));
		if (bytes <= 0)
			break;
		got += (size_t)bytes;
	}
	return got;
}

void reader_end(struct reader *reader)
{
	close(reader->answer_fd);
	kill(reader->pid, SIGKILL);
	retry(waitpid(reader->pid, NULL, 0));
}
