# SPDX-License-Identifier: Apache-2.0
"""The workload notices nothing: a probe that prints all it can know of itself says the same plain and under hugexec."""
import ctypes
import os
import pty
import re
import signal
import subprocess

import pytest

from lib.machine import take_hugetlb_pool
from lib.policies import policy_with
from lib.probes import KINDS, lines_of, run_probe
from lib.report import read_report
from lib.sanitized import SANITIZED


def extra_files():
    """Numbers of descriptors of several kinds: a file that was read from, one that is written to, a pipe, a socket pair, a folder."""
    opened = [os.open("/etc/passwd", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY | os.O_APPEND), os.pipe()[0], os.open("/", os.O_PATH)]
    os.lseek(opened[0], 7, os.SEEK_SET)
    for number, fd in enumerate(opened, 17):
        os.dup2(fd, number)
        os.close(fd)
    return range(17, 17 + len(opened))


def surroundings(name):
    """Ways to be started that leave traces: (options for Popen, words to put before the command)."""
    plain = {"stdin": subprocess.DEVNULL}
    return {
        "plain": (plain, []),
        "new session": ({**plain, "start_new_session": True}, []),
        "ignored signals": (plain, ["env", "--ignore-signal=USR1", "--ignore-signal=CHLD", "--ignore-signal=TRAP"]),
        "blocked signals": (plain, ["env", "--block-signal=USR2", "--block-signal=TERM", "--block-signal=TRAP"]),
        "SIGCHLD blocked": (plain, ["env", "--block-signal=CHLD"]),  # the tracer's end would leave it pending
        "nice": (plain, ["nice", "-n", "7"]),
        "batch": (plain, ["chrt", "--batch", "0"]),
        "user": (plain, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]),
        "capabilities": (plain, ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace,-sys_admin"]),
        "limits": (plain, ["prlimit", "--nofile=64:64", "--core=0:0", "--stack=1048576:1048576",
                           *([] if SANITIZED else ["--data=1000000000"])]),
        "no randomisation": (plain, ["setarch", "-R"]),
        "one cpu": (plain, ["taskset", "-c", str(min(os.sched_getaffinity(0)))]),
        "pdeathsig": (plain, ["setpriv", "--pdeathsig=TERM"]),
        "environment": ({**plain, "env": {"A": "1", "_": "underscore", "LISTEN_PID": "1", "EMPTY": ""}}, []),
        "no environment": ({**plain, "env": {}}, []),
        "extra files": ({**plain, "pass_fds": extra_files()}, []),
        "umask": ({**plain, "umask": 0o027}, []),
        "directory": ({**plain, "cwd": "/usr"}, []),
    }[name]


NAMES = ["plain", "new session", "ignored signals", "blocked signals", "SIGCHLD blocked", "nice", "batch", "user", "capabilities", "limits",
         "no randomisation", "one cpu", "pdeathsig", "environment", "no environment", "extra files", "umask", "directory"]


def compare(words, prefix, options, hugexec_command, policy, backing, outcome="remapped"):
    command, report = hugexec_command(words, policy, backing)
    report.touch()
    report.chmod(0o666)
    plain = run_probe([*prefix, *words], **options)
    ours = run_probe([*prefix, *command], **options)
    assert plain[0] == 42
    assert ours[1] == plain[1] == ""
    assert ours[2] == plain[2]
    assert ours[0] == plain[0]
    assert [line["outcome"] for line in read_report(report)] == [outcome]


@pytest.fixture(autouse=True)
def reachable_folder(public_folder):
    """The policy and report are used by other users too."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_surroundings(probe, hugexec_command, name, backing):
    options, prefix = surroundings(name)
    options = {"start_new_session": False, **options}
    if name == "no randomisation" and backing == "file":
        backing = "file,thp"  # such a program must stay where it is
    with take_hugetlb_pool(8 if backing == "hugetlb" else 0):
        compare([probe("pie"), "a b", "", "ü"], prefix, options, hugexec_command, policy_with(), backing,
                "failed" if name == "SIGCHLD blocked" else "remapped")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_kinds(probe, hugexec_command, kind, backing):
    compare([probe(kind)], [], {"stdin": subprocess.DEVNULL}, hugexec_command, policy_with(), backing)


def test_small(probe, hugexec_command):
    """What is left alone is left alone wholly."""
    compare([probe("pie")], [], {"stdin": subprocess.DEVNULL}, hugexec_command,
            policy_with(max_text="1M", follow="none"), "thp", "skipped")


def with_interval_timer():
    signal.setitimer(signal.ITIMER_REAL, 600)
    signal.setitimer(signal.ITIMER_VIRTUAL, 600)


def with_filter():
    import seccomp  # noqa: PLC0415
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.add_rule(seccomp.ERRNO(1), "reboot")
    rules.load()


def with_kernel_attributes():
    """Attributes of a process that are set by prctl(2) and survive exec."""
    libc = ctypes.CDLL(None)
    for call in ((36, 1), (29, 123456), (28, 0x40), (33, 1, 1)):  # subreaper, timer slack, securebits, MCE policy
        libc.prctl(*call, *[0] * (5 - len(call)))
    libc.syscall(238, 1, ctypes.byref(ctypes.c_ulong(1)), 64)  # set_mempolicy(MPOL_PREFERRED, node 0)
    libc.syscall(251, 1, 0, 2 << 13 | 7)  # ioprio_set: best effort, 7


def with_every_signal_blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("prepare", [with_interval_timer, with_filter, with_kernel_attributes, with_every_signal_blocked])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_attributes(probe, hugexec_command, prepare, backing):
    """What survives exec and no command sets."""
    if prepare is with_filter:
        pytest.importorskip("seccomp", reason="python3-seccomp is not installed")
    compare([probe("pie")], [], {"stdin": subprocess.DEVNULL, "preexec_fn": prepare}, hugexec_command, policy_with(), backing,
            "failed" if prepare == with_every_signal_blocked else "remapped")


def test_pending_signal(probe, hugexec_command):
    """A signal that is pending and blocked before exec is so after it."""

    def block_and_raise():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)

    compare([probe("pie")], [], {"stdin": subprocess.DEVNULL, "preexec_fn": block_and_raise}, hugexec_command,
            policy_with(), "thp")


def test_terminal(probe, hugexec_command):
    """With a controlling terminal: same terminal, same foreground group."""

    def in_terminal(words):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(words[0], words)
        out = b""
        while True:
            try:
                got = os.read(fd, 65536)
            except OSError:
                break
            if not got:
                break
            out += got
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lines_of(re.sub(r"/dev/pts/\d+", "PTS", out.decode()), pid)

    words, report = hugexec_command([probe("pie")], backing="thp")
    plain = in_terminal([probe("pie")])
    ours = in_terminal(words)
    assert any(line.startswith("tty: PTS") for line in plain[1])
    assert ours == plain
    assert read_report(report)[0]["outcome"] == "remapped"


def test_probe_sees_a_difference(probe, hugexec_command):
    """The comparison is able to fail: another nice value shows."""
    command, _ = hugexec_command([probe("pie")], backing="thp")
    options = {"stdin": subprocess.DEVNULL}
    assert run_probe([probe("pie")], **options)[2] != run_probe(["nice", "-n", "3", *command], **options)[2]


def test_numbers_that_are_no_pid():
    """PIDs go round, and then one is the size of a page or of a mapping."""
    text = "pid: 1000\nauxv 6: 1000\nmap: 1000 r--p 0 00:00 x\nfd 3: 1000\nstatus Tgid:\t1000"
    assert lines_of(text, 1000) == ["pid: PID", "auxv 6: 1000", "map: 1000 r--p 0 00:00 x", "fd 3: 1000", "status Tgid:\tPID"]
