# SPDX-License-Identifier: Apache-2.0
"""What hugexec says on the workload's standard error, and when that is another file by then."""
import os
import pty
import subprocess

import pytest

from lib.policies import policy_with

# Its data file gets number 2, as the first that is free.
CLOSES = r"""
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	close(2);
	int fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644);
	return fd == 2 && write(fd, "DATA", 4) == 4 ? 9 : 1;
}
"""

# Ends with its first argument while it has other threads: by its main thread, or by "another", or by that after it.
THREADS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *rest(void *unused) { pause(); return unused; }
static int is_last;
static void *end(void *status)
{
	for (char state = 0; is_last && state != 'Z'; usleep(1000)) { /* until the main thread has ended */
		FILE *file = fopen("/proc/self/stat", "r");
		fscanf(file, "%*d (threads) %c", &state);
		fclose(file);
	}
	exit(atoi(status));
}
int main(int argc, char **argv)
{
	pthread_t thread;
	(void)argc;
	pthread_create(&thread, NULL, rest, NULL);
	if (strcmp(argv[2], "main") == 0)
		return atoi(argv[1]);
	is_last = strcmp(argv[2], "last") == 0;
	pthread_create(&thread, NULL, end, argv[1]);
	if (is_last)
		pthread_exit(NULL);
	pause();
}
"""


@pytest.fixture
def closes(tmp_path):
    (tmp_path / "closes.c").write_text(CLOSES)
    subprocess.run(["cc", "-o", tmp_path / "closes", tmp_path / "closes.c"], check=True)
    return tmp_path / "closes"


@pytest.mark.parametrize("option", ["-v", "--report=-", "--report=/nowhere/report"])
def test_a_data_file_with_number_2(hugexec, write_policy, closes, tmp_path, option):
    """It is not written to when the program has ended: a wrapper, which is followed and told of until then."""
    policy = policy_with() | {"settings": {"wrappers": ["closes"]}}
    command = [hugexec, f"--policy={write_policy(policy)}", option, "--", closes]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, (tmp_path / "data").read_text()) == (9, "DATA")


def printed_on_a_terminal(words):
    """What the command prints on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    text = b""
    while True:
        try:
            text += os.read(fd, 4096)
        except OSError:  # the last one that had it open is gone
            break
    os.close(fd)
    assert os.waitpid(pid, 0)[1] == 0
    return text.decode()


def test_a_program_that_closes_its_standard_error(hugexec, write_policy):
    """As ls does before it ends: the terminal is still there to be told why it was left alone."""
    words = [hugexec, f"--policy={write_policy(policy_with())}", "-v", "--", "ls", "-d", "/"]
    assert "hugexec: ls: left alone: " in printed_on_a_terminal(words)


@pytest.mark.parametrize("status", [0, 9])
@pytest.mark.parametrize("who", ["main", "another", "last"])
def test_a_program_that_ends_with_more_than_one_thread(hugexec, write_policy, tmp_path, status, who):
    """It is told of once: on standard error, if its main thread still has one."""
    (tmp_path / "threads.c").write_text(THREADS)
    subprocess.run(["cc", "-w", "-o", tmp_path / "threads", tmp_path / "threads.c", "-pthread"], check=True)
    policy, report = write_policy(policy_with(wrappers=["threads"])), tmp_path / "report"
    for where in ("-", report):
        done = subprocess.run([hugexec, f"--policy={policy}", f"--report={where}", "--", tmp_path / "threads", str(status), who],
                              capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("", status)
        lines = done.stderr if where == "-" else report.read_text()
        assert lines.count('"reason":"wrapper: ') == (0 if who == "last" and where == "-" else 1)
