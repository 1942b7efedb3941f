# SPDX-License-Identifier: Apache-2.0
"""Tracing that is not allowed, by ptrace(2), Yama or a seccomp filter: the workload runs as if hugexec were not there."""
import contextlib
import json
import os
import socket
import subprocess
import time

import pytest

from lib.confinement import seccomp_filter
from lib.machine import HUGE, switched, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, run
from lib.report import split_report
from lib.sanitized import without_leak_check
from lib.smaps import smaps


def test_ptrace_refused(check):
    check("ptrace-refused", "thp", preexec_fn=seccomp_filter("errno", "ptrace"))


def test_ptrace_killed(check):
    check("seccomp", "thp", preexec_fn=seccomp_filter("kill", "ptrace"))


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_getfd", "pidfd_open", "mremap", "madvise", "fallocate",
                                  "process_vm_readv", "process_vm_writev", "waitid", "clone3", "pipe2", "poll",
                                  "ftruncate", "capget", "close_range", "setsid", "prlimit64", "socketpair", "recvmsg", "sendmsg"])
@pytest.mark.parametrize("action", ["errno", "kill"])
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_one_call_filtered(hugexec, bigtext, write_policy, action, call, backing):
    """One system call of those that hugexec makes is refused or answered with SIGSYS: the workload never pays for that."""
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter(action, call)
    plain = run(program, preexec_fn=filtered)
    if plain.returncode != 9:
        pytest.skip("the program itself needs this call")
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        ours = run([hugexec, f"--policy={write_policy(policy_with())}", f"--backing={backing}", "--report=-", "--", *program],
                   preexec_fn=filtered, env={**os.environ, **without_leak_check()})
    stderr, _ = split_report(ours.stderr)
    assert (ours.stdout, stderr, ours.returncode) == (plain.stdout, [], 9)


WHAT_IS_TOLD = {"remapped": policy_with(), "left alone": policy_with(action="skip"), "too small": policy_with(min_text="1G"), "broken policy": "{"}


@pytest.mark.parametrize("call", ["none", "socket", "connect", "sendto", "poll"])
@pytest.mark.parametrize("what", WHAT_IS_TOLD)
def test_no_filter_kills_for_what_is_told_to_the_host(hugexec, bigtext, write_policy, tmp_path, what, call):
    """Journal and counter are there, and a call that telling them takes is answered with SIGSYS: the program runs, and keeps no zombie."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    places = {"/run/systemd/journal/socket": tmp_path / "journal", "/run/hugexec/counter.sock": tmp_path / "counter"}
    put = "mount -t tmpfs none /run"
    for place, path in places.items():
        put += f" && mkdir -p {os.path.dirname(place)} && touch {place} && mount --bind {path} {place}"
    words = ["unshare", "--mount", "--propagation=private", "sh", "-c", put + ' && exec "$@"', "sh", hugexec,
             f"--policy={write_policy(WHAT_IS_TOLD[what])}", "--backing=thp", "--", bigtext(8), "sleep"]
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in places]
        for listener, path in zip(listeners, places.values()):
            listener.bind(str(path))
        process = stack.enter_context(Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                              preexec_fn=None if call == "none" else seccomp_filter("kill", call)))
        assert [process.stdout.readline()[:8], process.stdout.readline()] == ["bigtext:", "ready\n"]
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
            assert children.read() == ""
        if call == "none":
            assert all(listener.recv(65536, socket.MSG_DONTWAIT) for listener in listeners)
        process.kill()


def test_a_kernel_that_cannot_move_hugetlb_pages(hugexec, bigtext, write_policy, tmp_path):
    """mremap is refused, as before Linux 5.16: the copy is mapped over the text from the memfd, of which nothing stays."""
    report = tmp_path / "report.json"
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--backing=hugetlb", f"--report={report}", "--",
             bigtext(8, "static", ("cc", "-static")), "sleep"]
    with take_hugetlb_pool(8), Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                       preexec_fn=seccomp_filter("errno", "mremap")) as process:
        assert [process.stdout.readline()[:8], process.stdout.readline()] == ["bigtext:", "ready\n"]
        line = json.loads(report.read_text())
        assert (line["outcome"], line["backing"]) == ("remapped", "hugetlb") and line["huge_bytes"] >= 3 * HUGE, line
        copies = [entry for entry in smaps(process.pid) if entry["path"].startswith("/memfd:")]
        assert sum(entry["end"] - entry["start"] for entry in copies) == line["huge_bytes"]
        assert all(entry["perms"] == "r-xp" for entry in copies)
        assert not [fd for fd in os.listdir(f"/proc/{process.pid}/fd") if "memfd" in os.readlink(f"/proc/{process.pid}/fd/{fd}")]
        process.kill()


@pytest.mark.parametrize("action", ["errno", "kill"])
def test_the_wait_for_libraries_is_filtered(hugexec, bigtext, write_policy, action):
    """A tracer that is killed while the program loads its libraries: the program does not wait for it at its entry point."""
    program = [bigtext(8), "exit", "9"]
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True))}", "--backing=thp", "--report=-", "--", *program]
    ours = run(words, preexec_fn=seccomp_filter(action, "rt_sigtimedwait"), env={**os.environ, **without_leak_check()})
    assert (ours.stdout, ours.returncode) == (run(program).stdout, 9)
    assert split_report(ours.stderr)[1][0]["reason"] or action == "errno"


@pytest.mark.parametrize("call", ["clone", "wait4", "futex", "getpid", "access", "rt_sigprocmask"])
def test_one_call_refused(hugexec, bigtext, write_policy, call):
    """Those that hugexec makes itself before the command: without them there is no tracer, or one that does not wait."""
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter("errno", call)
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True))}", "--backing=thp", "--report=-"]
    for _ in range(10):  # waiting in vain takes a coincidence
        plain = run(program, preexec_fn=filtered)
        begin = time.monotonic()
        ours = run([*words, "--", *program], preexec_fn=filtered, env={**os.environ, **without_leak_check()})
        assert (ours.stdout, split_report(ours.stderr)[0], ours.returncode) == (plain.stdout, [], 9)
        assert time.monotonic() - begin < 25  # less than follow_timeout, for which it would be waited


@pytest.mark.alone
@pytest.mark.parametrize("scope", ["1", "2"])
def test_yama(hugexec, bigtext, write_policy, nobody, public_folder, scope):
    """Scope 1 lets the tracer in because it is named; scope 2 lets nobody in without CAP_SYS_PTRACE."""
    words = [*nobody, hugexec, f"--policy={write_policy(policy_with())}", "--backing=thp", "--report=-", "--", bigtext(8)]
    with switched("/proc/sys/kernel/yama/ptrace_scope", scope):
        done = run(words)
    assert done.returncode == 0
    report = split_report(done.stderr)[1][0]
    assert report["outcome"] == "remapped" if scope == "1" else report["reason"].startswith("ptrace-refused: ")
