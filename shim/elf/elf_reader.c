#include "elf/elf_reader.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "config.h"
#include "elf/answer.h"

#define READER      "hugexec-elf-reader"
#define ADDRESS_MAX (UINT64_C(1) << 63)

/* The reader beside the running program (a build folder), else the installed one. */
static const char *reader_path(char *buf, size_t buf_bytes)
{
	ssize_t got = readlink("/proc/self/exe", buf, buf_bytes - 1);
	buf[got > 0 ? got : 0] = '\0';
	char *slash = strrchr(buf, '/');
	if (slash && (size_t)(slash + 1 - buf) + sizeof READER <= buf_bytes) {
		strcpy(slash + 1, READER);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	return HUGEXEC_LIBEXECDIR "/" READER;
}

/* Descriptors for the reader: nothing but the file on 3 and the pipe on 4. */
static int set_up_files(posix_spawn_file_actions_t *actions, int file_fd, int answer_fd)
{
	/* Both go above the targets first, or one could overwrite the other. */
	int failed = posix_spawn_file_actions_adddup2(actions, file_fd, ELF_READER_FILE_FD);
	failed |= posix_spawn_file_actions_adddup2(actions, answer_fd, ELF_READER_ANSWER_FD);
	for (int fd = 0; fd < ELF_READER_FILE_FD; fd++)
		failed |= posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
	failed |= posix_spawn_file_actions_addclosefrom_np(actions, ELF_READER_ANSWER_FD + 1);
	return failed;
}

/* MODE: a word for the reader, or NULL. */
static int spawn_reader(pid_t *pid, int file_fd, int answer_fd, const char *mode)
{
	char path[4096], parent[16];
	char *const argv[] = {(char *)READER, parent, (char *)mode, NULL};
	char *const no_environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	snprintf(parent, sizeof parent, "%d", (int)getpid());
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	int failed = set_up_files(&actions, file_fd, answer_fd);
	if (!failed)
		failed = posix_spawn(pid, reader_path(path, sizeof path), &actions, &attributes, argv, no_environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return failed;
}

static int start(struct elf_reader *reader, int file_fd, const char *mode, struct error *err)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "elf-reader", "pipe");
	/* Out of the way of the numbers that the reader has them under. */
	cleanup_close int high_file = fcntl(file_fd, F_DUPFD_CLOEXEC, 10);
	cleanup_close int high_pipe = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 10);
	close(pipe_fds[1]);
	int failed = high_file < 0 || high_pipe < 0 ? EMFILE : spawn_reader(&reader->pid, high_file, high_pipe, mode);
	if (failed) {
		close(pipe_fds[0]);
		return error_set_errno(err, failed, "elf-reader", "starting " READER);
	}
	reader->answer_fd = pipe_fds[0];
	return 0;
}

int elf_reader_start(struct elf_reader *reader, int file_fd, struct error *err)
{
	return start(reader, file_fd, NULL, err);
}

/* Read until OUT is full, the reader is gone, or the time is over. Returns the bytes got. */
static size_t read_answer(int fd, void *out, size_t bytes_wanted, int64_t deadline_ms)
{
	size_t got = 0;
	while (got < bytes_wanted) {
		int64_t left_ms = deadline_ms - now_ms();
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) == 0)
			break;
		ssize_t bytes = retry(read(fd, (char *)out + got, bytes_wanted - got));
		if (bytes <= 0)
			break;
		got += (size_t)bytes;
	}
	return got;
}

/* The reader has read a stranger's file: what it says is checked as if the stranger had said it. */
static bool is_sane(const struct elf_facts *facts)
{
	if (facts->elf_class != ELFCLASS32 && facts->elf_class != ELFCLASS64)
		return false;
	if (facts->has_interp > 1 || facts->build_id_bytes > ELF_BUILD_ID_MAX ||
	    facts->segment_count > ELF_SEGMENTS_MAX)
		return false;
	for (unsigned i = 0; i < facts->segment_count; i++) {
		const struct elf_segment *segment = &facts->segments[i];
		if (segment->vaddr >= ADDRESS_MAX || segment->mem_bytes >= ADDRESS_MAX - segment->vaddr ||
		    segment->file_off >= ADDRESS_MAX || segment->file_bytes >= ADDRESS_MAX - segment->file_off ||
		    segment->file_bytes > segment->mem_bytes)
			return false;
	}
	return true;
}

int elf_answer_check(const struct elf_answer *answer, struct elf_facts *out, struct error *err)
{
	if (answer->magic != ELF_ANSWER_MAGIC)
		return error_set(err, "elf-reader", "no answer from " READER);
	if (answer->status == ELF_ANSWER_NOT_ELF)
		return error_set(err, "elf-invalid", "not an ELF file");
	if (answer->status != ELF_ANSWER_OK || !is_sane(&answer->facts))
		return error_set(err, "elf-invalid", "its ELF headers make no sense");
	*out = answer->facts;
	return 0;
}

/* Reap the reader, killing it first unless it HAS_ANSWERED and so is about to end. */
static void end(const struct elf_reader *reader, bool has_answered)
{
	close(reader->answer_fd);
	if (!has_answered)
		kill(reader->pid, SIGKILL);
	retry(waitpid(reader->pid, NULL, 0));
}

int elf_reader_finish(struct elf_reader *reader, int timeout_ms, struct elf_facts *out, struct error *err)
{
	struct elf_answer answer;
	size_t got = read_answer(reader->answer_fd, &answer, sizeof answer, now_ms() + timeout_ms);
	end(reader, got == sizeof answer);
	if (got < sizeof answer)
		return error_set(err, "elf-reader", "no answer from " READER);
	return elf_answer_check(&answer, out, err);
}

/* Whether a symbol makes sense; its name is made fit for a line of text. */
static bool clean_symbol(struct elf_symbol *symbol)
{
	symbol->name[ELF_SYMBOL_NAME_MAX - 1] = '\0';
	for (char *at = symbol->name; *at; at++) {
		if (*at <= ' ' || *at > '~')
			*at = '?';
	}
	return symbol->name[0] && symbol->bytes > 0 && symbol->bytes < ADDRESS_MAX && symbol->file_off < ADDRESS_MAX;
}

/* Hand on what comes from FD. Returns 1 where these were all, 0 where the reader told less or nonsense, -1 for EACH. */
static int hand_on(int fd, int64_t deadline_ms, int (*each)(const struct elf_symbol *symbol, void *context),
                   void *context)
{
	static const struct elf_symbol last;
	struct elf_symbol batch[256];
	for (uint32_t count = 0; count <= ELF_SYMBOLS_MAX;) {
		size_t got = read_answer(fd, batch, sizeof batch, deadline_ms) / sizeof batch[0];
		for (size_t i = 0; i < got; i++, count++) {
			if (memcmp(&batch[i], &last, sizeof last) == 0)
				return 1;
			if (!clean_symbol(&batch[i]))
				return 0;
			if (each(&batch[i], context) < 0)
				return -1;
		}
		if (got < sizeof batch / sizeof batch[0])
			break;
	}
	return 0;
}

int elf_read_symbols(int file_fd, int timeout_ms, int (*each)(const struct elf_symbol *symbol, void *context),
                     void *context, struct error *err)
{
	struct elf_reader reader = {.answer_fd = -1};
	int64_t deadline_ms = now_ms() + timeout_ms;
	if (start(&reader, file_fd, ELF_READER_SYMBOLS, err) < 0)
		return -1;
	int result = hand_on(reader.answer_fd, deadline_ms, each, context);
	end(&reader, result == 1);
	if (result == 0)
		error_set(err, "elf-invalid", "its symbols could not all be read in %d ms", timeout_ms);
	return result == 1 ? 0 : -1;
}

const char *elf_build_id_hex(const struct elf_facts *facts, char *buf)
{
	buf[0] = '\0';
	for (unsigned i = 0; i < facts->build_id_bytes && i < ELF_BUILD_ID_MAX; i++)
		snprintf(buf + (size_t)2 * i, 3, "%02x", facts->build_id[i]);
	return buf;
}
