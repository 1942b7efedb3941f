/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readers' sandbox: what it stops, what a reader is left with, and what the ELF reader's client believes of it.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/elf/elf_client.h"
#include "sandbox/elf/elf_reply.h"

#define TIMEOUT_MS 60000

/* A reader, the word that has it read any file and answer, and its memory in bytes. */
static const struct kind {
	const char *name, *word, *memory;
} kinds[] = {{"hugexec-elf-reader", NULL, "67108864"}, {"hugexec-bundle-reader", "annotations", "1073741824"}};
static const struct kind searching = {"hugexec-elf-reader", "libraries", "67108864"}; /* it is sent files, too */
#define KINDS (sizeof kinds / sizeof kinds[0])

static const char *reader_beside_us(const struct kind *kind)
{
	static char path[4096];
	ssize_t got = readlink("/proc/self/exe", path, sizeof path - 64);
	assert_true(got > 0);
	path[got] = '\0';
	strcpy(strrchr(path, '/') + 1, kind->name);
	return path;
}

/* Start the reader as sandbox_spawn.c does, with WORDS (NULL: none) after the parent's pid. Returns its pid. */
static pid_t start_reader_with(const struct kind *kind, const char *word, const char *second, int file_fd,
                               int answer_fd)
{
	const char *path = reader_beside_us(kind);
	char parent[16];
	snprintf(parent, sizeof parent, "%d", (int)getpid());
	pid_t child = fork();
	if (child == 0) {
		/* By way of numbers that are neither, and so that O_CLOEXEC goes in any case. */
		int high_file = fcntl(file_fd, F_DUPFD, 10);
		int high_answer = fcntl(answer_fd, F_DUPFD, 10);
		dup2(high_file, READER_FILE_FD);
		dup2(high_answer, READER_ANSWER_FD);
		close_range(READER_ANSWER_FD + 1, ~0U, 0);
		execl(path, kind->name, parent, word, second, (char *)NULL);
		_exit(99);
	}
	return child;
}

static pid_t start_reader(const struct kind *kind, const char *word, int file_fd, int answer_fd)
{
	return start_reader_with(kind, word, NULL, file_fd, answer_fd);
}

static void the_filter_kills_what_it_forbids(void **state)
{
	(void)state;
	static const char *const deeds[] = {"open", "socket", "exec", "fork", "exec-memory"};
	int status;
	for (const struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
		for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
			pid_t child = start_reader(kind, deeds[i], -1, -1);
			assert_int_equal(waitpid(child, &status, 0), child);
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
				fail_msg("%s, %s: wait status %#x", kind->name, deeds[i], (unsigned)status);
		}
		/* And only that: an unknown word is no deed. */
		pid_t child = start_reader(kind, "nothing", -1, -1);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
		pid_t child = start_reader_with(&searching, searching.word, deeds[i], -1, -1);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s, which searches, %s: wait status %#x", searching.name, deeds[i], (unsigned)status);
	}
}

static void it_serves_nobody_but_its_parent(void **state)
{
	(void)state;
	for (const struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
		pid_t child = fork();
		int status;
		if (child == 0) {
			execl(reader_beside_us(kind), kind->name, "1", "nothing", (char *)NULL);
			_exit(99);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	}
}

/* A reader that waits for ever (here: stopped) is given up and gone. */
static void a_late_reader_is_killed(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0) {
		for (;;)
			pause();
	}
	struct reader reader = {.pid = child, .answer_fd = fds[0]};
	struct elf_info info;
	struct error err;
	assert_int_equal(elf_reader_finish(&reader, 50, &info, &err), -1);
	assert_string_equal(reason_word(err.code), "elf-reader");
	assert_int_equal(kill(child, 0), -1);
	assert_int_equal(errno, ESRCH);
	close(fds[1]);
}

/* One that has answered and does not end, as one that was taken over might, does not hold anybody up. */
static void a_reader_that_stays_is_killed(void **state)
{
	(void)state;
	static const struct elf_answer answer = {.magic = ELF_ANSWER_MAGIC, .info = {.elf_class = ELFCLASS64}};
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0) {
		alarm(300);
		for (ssize_t put = write(fds[1], &answer, sizeof answer); put == sizeof answer;)
			pause();
		_exit(1);
	}
	close(fds[1]);
	struct reader reader = {.pid = child, .answer_fd = fds[0]};
	struct elf_info info;
	struct error err;
	time_t begin = time(NULL);
	assert_int_equal(elf_reader_finish(&reader, TIMEOUT_MS, &info, &err), 0);
	assert_true(time(NULL) - begin < 100);
	assert_int_equal(kill(child, 0), -1);
}

/* A reader that was taken over answers what it likes. */
static void wrong_answers_are_refused(void **state)
{
	(void)state;
	struct elf_answer good = {.magic = ELF_ANSWER_MAGIC, .info = {.elf_class = ELFCLASS64, .segment_count = 1}};
	for (int kind = 0; kind < 10; kind++) {
		struct elf_answer answer = good;
		struct elf_segment *segment = &answer.info.segments[0];
		switch (kind) {
		case 1: answer.magic = 0; break;
		case 2: answer.status = 77; break;
		case 3: answer.info.elf_class = 9; break;
		case 4: answer.info.has_interp = 2; break;
		case 5: answer.info.build_id_bytes = ELF_BUILD_ID_MAX + 1; break;
		case 6: answer.info.segment_count = ELF_SEGMENTS_MAX + 1; break;
		case 7: segment->vaddr = UINT64_MAX; break;
		case 8: segment->mem_bytes = UINT64_MAX; break;
		case 9: segment->file_bytes = 1; break;
		default: break;
		}
		int fds[2];
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		pid_t child = fork();
		if (child == 0)
			_exit(write(fds[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
		close(fds[1]);
		struct reader reader = {.pid = child, .answer_fd = fds[0]};
		struct elf_info info;
		struct error err;
		if (elf_reader_finish(&reader, TIMEOUT_MS, &info, &err) != (kind == 0 ? 0 : -1))
			fail_msg("kind %d", kind);
	}
}

/* The soft and the hard limit, as /proc/PID/limits names them. */
static void check_limits(const struct kind *kind, pid_t pid)
{
	const char *const limits[][2] = {{"Max cpu time", "20"}, {"Max address space", kind->memory},
	                                 {"Max file size", "0"}, {"Max core file size", "0"},
	                                 {"Max processes", "0"}, {"Max open files", "0"}};
	char path[64], line[256], soft[32], hard[32];
	unsigned seen = 0;
	snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
			size_t length = strlen(limits[i][0]);
			if (strncmp(line, limits[i][0], length) != 0)
				continue;
			assert_int_equal(sscanf(line + length, "%31s %31s", soft, hard), 2);
			assert_string_equal(soft, limits[i][1]);
			assert_string_equal(hard, limits[i][1]);
			seen++;
		}
	}
	fclose(file);
	assert_int_equal(seen, 6);
}

/* Whether the process of PATH, its status in /proc, is somebody who may do nothing, and waits. */
static bool is_locked_up(const char *path)
{
	static const char *const wanted[] = {"Uid:\t65534\t65534\t65534\t65534\n",
	                                     "Gid:\t65534\t65534\t65534\t65534\n",
	                                     "CapEff:\t0000000000000000\n",
	                                     "NoNewPrivs:\t1\n",
	                                     "Seccomp:\t2\n",
	                                     "State:\tS (sleeping)\n"};
	FILE *status = fopen(path, "r");
	assert_non_null(status);
	char line[256];
	unsigned seen = 0;
	while (fgets(line, sizeof line, status)) {
		for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
			seen += strcmp(line, wanted[i]) == 0;
	}
	fclose(status);
	return seen == sizeof wanted / sizeof wanted[0];
}

/* Whether the process of PATH is gone, or at most a zombie that PID 1 is to reap. */
static bool has_ended(const char *path)
{
	FILE *status = fopen(path, "r");
	char line[256];
	bool ended = status == NULL;
	while (status && fgets(line, sizeof line, status))
		ended |= strcmp(line, "State:\tZ (zombie)\n") == 0;
	if (status)
		fclose(status);
	return ended;
}

/* Wait until IS, of PATH, holds: a minute, which no machine needs that does not hang. */
static void wait_until(bool (*is)(const char *path), const char *path)
{
	for (int i = 0; i < 6000 && !is(path); i++)
		usleep(10000);
	assert_true(is(path));
}

/* Nothing but the file and the pipe, nobody's identity, and gone when its parent is. Seen from a reader that hangs. */
static void check_what_it_has(const struct kind *kind)
{
	/* A FIFO-like file would be refused; a full answer pipe makes it hang in write(). */
	int answer[2], told[2];
	assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	fcntl(answer[1], F_SETPIPE_SZ, 4096);
	static const char fill[4096];
	assert_int_equal(write(answer[1], fill, sizeof fill), sizeof fill);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	pid_t parent = fork();
	if (parent == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* where a check fails */
		pid_t child = start_reader(kind, kind->word, file, answer[1]);
		_exit(write(told[1], &child, sizeof child) == sizeof child && pause());
	}
	pid_t child = 0;
	assert_int_equal(read(told[0], &child, sizeof child), sizeof child);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/status", (int)child);
	wait_until(is_locked_up, path);
	check_limits(kind, child);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	wait_until(has_ended, path);
	close(file);
	close(answer[0]), close(answer[1]), close(told[0]), close(told[1]);
}

static void it_has_nothing_and_dies_with_its_parent(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	for (const struct kind *kind = kinds; kind < kinds + KINDS; kind++)
		check_what_it_has(kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_filter_kills_what_it_forbids),
	    cmocka_unit_test(it_serves_nobody_but_its_parent),
	    cmocka_unit_test(a_late_reader_is_killed),
	    cmocka_unit_test(a_reader_that_stays_is_killed),
	    cmocka_unit_test(wrong_answers_are_refused),
	    cmocka_unit_test(it_has_nothing_and_dies_with_its_parent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
