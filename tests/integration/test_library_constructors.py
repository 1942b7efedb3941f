# SPDX-License-Identifier: Apache-2.0
"""What a library's constructor may do before the program's entry point, where the tracer waits for the program."""
import os
import subprocess

import pytest

from lib.policies import policy_with
from lib.process import Process, run, wait_for
from lib.report import read_report
from programs import bigtext as bigtext_generator

HANG = 60

# The first argument says what.
CONSTRUCTOR = r"""
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void *rest(void *unused) { pause(); return unused; }
static void few_calls(void) /* a kernel that is asked for another one ends the process */
{
	struct sock_filter code[] = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
		{BPF_JMP | BPF_JEQ | BPF_K, 2, 0, SYS_write},
		{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYS_exit_group},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS},
		{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
	};
	struct sock_fprog program = {sizeof code / sizeof code[0], code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
static int child(int forked, int status)
{
	if (forked == 0)
		_exit(status);
	return wait(NULL) == forked ? 0 : 1;
}
__attribute__((constructor)) static void construct(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t thread;
	sigset_t all;
	if (!strcmp(what, "is not dumpable")) prctl(PR_SET_DUMPABLE, 0);
	if (!strcmp(what, "becomes another user") && (setgid(65534) || setuid(65534))) _exit(1);
	if (!strcmp(what, "starts a thread")) pthread_create(&thread, NULL, rest, NULL);
	if (!strcmp(what, "forks") && child(fork(), 3)) _exit(1);
	if (!strcmp(what, "vforks") && child(vfork(), 3)) _exit(1);
	if (!strcmp(what, "becomes a daemon") && (fork() ? wait(NULL), 1 : (setsid(), 0))) _exit(5);
	if (!strcmp(what, "executes")) execl("/bin/echo", "echo", "executed", NULL);
	if (!strcmp(what, "allows itself few calls")) few_calls();
	if (!strcmp(what, "blocks all signals")) { sigfillset(&all); sigprocmask(SIG_BLOCK, &all, NULL); }
	if (!strcmp(what, "has a timer")) { signal(SIGALRM, SIG_IGN); ualarm(500, 500); }
	if (!strcmp(what, "closes all files")) for (int i = 3; i < 1024; i++) close(i);
	if (!strcmp(what, "locks its memory")) mlockall(MCL_CURRENT | MCL_FUTURE);
	if (!strcmp(what, "changes its root") && (chroot("/proc/self/fdinfo") || chdir("/"))) _exit(1);
	if (!strcmp(what, "ends")) _exit(4);
	if (!strcmp(what, "crashes")) raise(SIGSEGV);
}
"""
# Nothing but write(2) and exit_group(2).
MAIN = r"""
#include <unistd.h>
int main(int argc, char **argv) { (void)argv; return write(1, "main\n", 5) == 5 ? 6 + argc : 1; }
"""
DOES = ("is not dumpable", "starts a thread", "forks", "vforks", "becomes a daemon", "executes", "allows itself few calls",
        "blocks all signals", "has a timer", "closes all files", "locks its memory", "ends", "crashes")
ROOT_DOES = (*DOES, "becomes another user", "changes its root")


@pytest.fixture
def built(public_folder):
    """A program that needs a library with 6 MiB of text and this constructor."""
    (public_folder / "text.s").write_text(bigtext_generator.assembly(6), encoding="ascii")
    (public_folder / "constructor.c").write_text(CONSTRUCTOR, encoding="ascii")
    (public_folder / "main.c").write_text(MAIN, encoding="ascii")
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", "libbig.so", "constructor.c", "text.s", "-lpthread"], cwd=public_folder, check=True)
    subprocess.run(["cc", "-w", "-o", "main", "main.c", "-Wl,--no-as-needed", "-L.", "-lbig", f"-Wl,-rpath,{public_folder}"],
                   cwd=public_folder, check=True)
    return public_folder / "main"


def launched(hugexec_command, words):
    words, report = hugexec_command(words, policy_with(libraries=True, follow="none"), "thp")
    report.touch()
    report.chmod(0o666)
    return words, report


@pytest.mark.parametrize("user, what", [*(("root", what) for what in ROOT_DOES), *(("nobody", what) for what in DOES)])
def test_as_plain(request, hugexec_command, built, user, what):
    prefix = request.getfixturevalue("nobody") if user == "nobody" else []
    if user == "root" and os.geteuid() != 0:
        pytest.skip("is not root")
    words, report = launched(hugexec_command, [built, what])
    plain, ours = (run([*prefix, *command], timeout=HANG) for command in ([built, what], words))
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    wait_for(lambda: len(read_report(report)) == 1)  # of one that ends while nobody traces it, a moment later


def test_who_hides_from_its_tracer_waits_for_nobody(hugexec_command, built, nobody):
    """A user's tracer can read nothing of it any more: the program does not spin at its entry point until it has lost patience."""
    words, report = launched(hugexec_command, [built, "is not dumpable"])
    seconds = []
    for _ in range(3):
        process = Process([str(word) for word in (*nobody, *words)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 8
        seconds.append(usage.ru_utime)
    assert min(seconds) < 0.25, seconds  # of processor time; it is let go after half a second
    assert {line["reason"].split(":")[0] for line in read_report(report)} == {"no-breakpoint"}


# As PID 1 it has the tracer as its child. What it forks comes to its entry point when the tracer's number is that of another process, a
# child of its own.
NUMBER = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int child;
static int tracer(void)
{
	char line[256];
	int pid = 0;
	FILE *file = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof line, file))
		sscanf(line, "TracerPid: %d", &pid);
	fclose(file);
	return pid;
}
static int fork_as(int number)
{
	FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "w");
	fprintf(file, "%d", number - 1);
	fclose(file);
	return fork();
}
__attribute__((constructor)) static void construct(void)
{
	int number = tracer(), other;
	if (!number || (child = fork()) != 0)
		return;
	while (kill(number, 0) == 0)
		usleep(1000);
	while ((other = fork_as(number)) != number && other > 0)
		kill(other, SIGKILL), waitpid(other, NULL, 0);
	if (other == 0)
		for (;;)
			pause();
}
int number_of_child(void) { return child; }
"""
WAITS = r"""
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int number_of_child(void);
int main(void)
{
	int status = 0, child = number_of_child();
	if (child && (waitpid(child, &status, 0) != child || status))
		return 1;
	return write(1, child ? "parent\n" : "child\n", child ? 7 : 6) < 0;
}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a PID namespace")
def test_what_it_forks_reaps_nobody(hugexec_command, public_folder):
    (public_folder / "number.c").write_text(NUMBER, encoding="ascii")
    (public_folder / "waits.c").write_text(WAITS, encoding="ascii")
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", "libnumber.so", "number.c"], cwd=public_folder, check=True)
    subprocess.run(["cc", "-w", "-o", "waits", "waits.c", "-L.", "-lnumber", f"-Wl,-rpath,{public_folder}"], cwd=public_folder, check=True)
    words, _ = launched(hugexec_command, [public_folder / "waits"])
    done = run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *words], timeout=HANG)
    assert (done.stdout, done.stderr, done.returncode) == ("child\nparent\n", "", 0)
