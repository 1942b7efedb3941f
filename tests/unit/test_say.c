/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to files that take nothing, or whose writers the kernel kills; and work that is done aside.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/aside.h"
#include "base/clock.h"
#include "base/say.h"

#define LINE "a line\n"

static int say_it(int fd, int timeout_ms)
{
	return say(fd, LINE, strlen(LINE), timeout_ms);
}

static void fill(int fd)
{
	static const char much[4096];
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, much, sizeof much) > 0)
		;
	while (write(fd, much, 1) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

static void full_ones_are_given_up(void **state)
{
	(void)state;
	int fds[2];
	int64_t began_ms = now_ms();
	assert_int_equal(pipe(fds), 0);
	fill(fds[1]);
	assert_int_equal(say_it(fds[1], 100), -1);
	assert_int_equal(errno, ETIMEDOUT);
	close(fds[0]), close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	fill(fds[1]);
	assert_int_equal(say_it(fds[1], 100), -1);
	assert_int_equal(errno, ETIMEDOUT);
	close(fds[0]), close(fds[1]);
	assert_in_range(now_ms() - began_ms, 200, 20000);
}

static void a_stopped_terminal_is_given_up(void **state)
{
	(void)state;
	int master, terminal;
	char buf[64];
	assert_int_equal(openpty(&master, &terminal, NULL, NULL, NULL), 0);
	assert_int_equal(say_it(terminal, 100), 0);
	assert_int_equal(tcflow(terminal, TCOOFF), 0);
	assert_int_equal(say_it(terminal, 100), -1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_int_equal(tcflow(terminal, TCOON), 0);
	assert_int_equal(say_it(terminal, 100), 0);
	assert_true(read(master, buf, sizeof buf) > 0);
	close(master), close(terminal);
}

/* With the default dispositions, which would end this test. */
static void no_signal_comes_of_it(void **state)
{
	(void)state;
	int fds[2];
	sigset_t pending;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(say_it(fds[1], 1000), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
	char path[] = "/tmp/hugexec-test-say-XXXXXX";
	int file = mkstemp(path);
	struct rlimit before, none;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	int result = say_it(file, 1000);
	int saved_errno = errno;
	setrlimit(RLIMIT_FSIZE, &before);
	unlink(path);
	close(file);
	assert_int_equal(result, -1);
	assert_int_equal(saved_errno, EFBIG);
	sigpending(&pending);
	assert_false(sigismember(&pending, SIGPIPE) || sigismember(&pending, SIGXFSZ));
}

static void what_was_pending_stays(void **state)
{
	(void)state;
	int fds[2];
	sigset_t ours, before, pending;
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigprocmask(SIG_BLOCK, &ours, &before);
	raise(SIGPIPE);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(say_it(fds[1], 1000), -1);
	close(fds[1]);
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGPIPE));
	int signal_number;
	sigwait(&ours, &signal_number);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void long_lines_are_cut(void **state)
{
	(void)state;
	int fds[2];
	char much[10000], buf[10000];
	memset(much, 'x', sizeof much - 1);
	much[sizeof much - 1] = '\0';
	assert_int_equal(pipe(fds), 0);
	say_line(fds[1], "%s\n", much);
	ssize_t got = read(fds[0], buf, sizeof buf);
	assert_in_range(got, 1000, 9000);
	assert_int_equal(buf[got - 1], '\n');
	close(fds[0]), close(fds[1]);
}

static int answer(void *context)
{
	return *(int *)context;
}

static int hang(void *context)
{
	(void)context;
	while (pause() < 0)
		;
	return 0;
}

static int die(void *context)
{
	(void)context;
	raise(SIGKILL);
	return 0;
}

static int write_to_nobody(void *context)
{
	(void)context;
	int fds[2];
	return pipe(fds) == 0 && close(fds[0]) == 0 && write(fds[1], "x", 1) < 0 && errno == EPIPE ? 7 : 0;
}

static void aside_tells_how_it_ended(void **state)
{
	(void)state;
	int five = 5;
	assert_int_equal(aside(answer, &five, 20000, -1), 5);
	assert_int_equal(aside(write_to_nobody, NULL, 20000, -1), 7);
	assert_int_equal(aside(die, NULL, 20000, -1), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(aside(hang, NULL, 100, -1), -1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

static void aside_ends_with_who_is_watched(void **state)
{
	(void)state;
	pid_t other = fork();
	if (other == 0) {
		usleep(100000);
		_exit(0);
	}
	int pidfd = (int)syscall(SYS_pidfd_open, other, 0);
	int64_t began_ms = now_ms();
	assert_int_equal(aside(hang, NULL, 60000, pidfd), -1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_in_range(now_ms() - began_ms, 0, 30000);
	close(pidfd);
	assert_int_equal(waitpid(other, NULL, WNOHANG), other);
}

static void aside_does_without_descriptors(void **state)
{
	(void)state;
	struct rlimit before, none;
	int five = 5;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int result = aside(answer, &five, 20000, -1);
	int late = aside(hang, NULL, 50, -1);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_int_equal(result, 5);
	assert_int_equal(late, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(full_ones_are_given_up),
	    cmocka_unit_test(a_stopped_terminal_is_given_up),
	    cmocka_unit_test(no_signal_comes_of_it),
	    cmocka_unit_test(what_was_pending_stays),
	    cmocka_unit_test(long_lines_are_cut),
	    cmocka_unit_test(aside_tells_how_it_ended),
	    cmocka_unit_test(aside_ends_with_who_is_watched),
	    cmocka_unit_test(aside_does_without_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
