# SPDX-License-Identifier: Apache-2.0
"""hugexecd or its worker is killed: the workload completes normally or is killed; never wrong code, never a hang."""
import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from lib.confinement import seccomp_filter
from lib.helper_daemon import KILLS_PTRACE, asking
from lib.policies import policy_with
from lib.process import Process, marked, wait_for
from lib.report import read_report
from lib.sanitized import SANITIZED
from lib.steps import HELPER_STEPS

# What only a tracer does that is the workload's own child, or for other libraries.
NOT_ON_THE_WAY = ("tracer-started", "seized", "handoff", "fill-helper", "attached", "frozen", "hook-seized", "awaiting", "awaited", "shared-")
ANSWERED = HELPER_STEPS.index("helper-answered")


def launch(words, daemon, mark):
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                      env=asking(daemon.path, MARK=mark), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    return process, *process.communicate(timeout=60)


def ended_well(process, out, err, expected):
    """Completed as the plain program does, or killed before its first instruction."""
    if process.returncode == -signal.SIGKILL:
        assert (out, err) == ("", "")
        return False
    assert (out, err, process.returncode) == (expected, "", 9)
    return True


@pytest.fixture
def expected(bigtext):
    return subprocess.run([bigtext(4)], capture_output=True, text=True, check=True).stdout


def test_killed_after_each_step(steps, start_daemon, hugexec_command, bigtext, expected, mark):  # noqa: F811
    killed, reached = set(), set()
    on_the_way = [step for step in steps if not step.startswith(NOT_ON_THE_WAY)]
    daemon = start_daemon(policy_with(libraries=True, round_out=True), MARK=mark)
    daemon.wait_until_serving()
    for step in on_the_way:
        daemon.process.terminate()
        assert daemon.process.wait(30) == 0
        daemon.start(MARK=mark, HUGEXEC_FAULT=f"kill:{step}")
        for backing in ("file", "thp"):
            words, report = hugexec_command([bigtext(4), "exit", "9"], backing=backing)
            if not ended_well(*launch(words, daemon, mark), expected):
                killed.add(step)
            lines = read_report(report)
            if step in HELPER_STEPS[:ANSWERED]:
                assert "; hugexecd: helper-gone: " in lines[0]["reason"], step
            # Killed after the answer, it may be gone before the word comes, or after that.
            if step == "reported" or not lines or any(
                    word in str(lines[0]["reason"]) for word in ("; hugexecd: helper-gone: ", "the process that was to do this was killed")):
                reached.add(step)
    assert sorted(set(on_the_way) - reached - {"library-stop", "map-hinted"}) == []
    assert {"borrowed", "populated"} <= killed
    assert not {*HELPER_STEPS, "exec-stop", "decided", "filled", "sealed", "verified", "reported"} & killed
    wait_for(lambda: marked(mark) == [daemon.pid])


def test_hangs_after_each_step(steps, start_daemon, hugexec_command, bigtext, expected, mark):  # noqa: F811
    """A worker that hangs before its answer holds a start for a second; what it had is given back with its end."""
    for step in HELPER_STEPS[:ANSWERED]:
        daemon = start_daemon(None, MARK=mark, HUGEXEC_FAULT=f"hang:{step}")
        words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
        process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=asking(daemon.path, MARK=mark), preexec_fn=seccomp_filter(*KILLS_PTRACE))
        if step == "helper-seized":
            # It stands at its exec: whoever traces it hangs. That ends with the worker.
            wait_for(lambda: daemon.workers())
            wait_for(lambda: open(f"/proc/{process.pid}/wchan", encoding="ascii").read().startswith("ptrace"),
                       process=process)
            os.kill(daemon.workers()[0], signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert ended_well(process, out, err, expected)
        line, = read_report(report)
        assert "; hugexecd: helper-timeout: " in line["reason"]
        for worker in daemon.workers():
            os.kill(worker, signal.SIGKILL)
        daemon.stop()
        daemon.path.unlink()
    wait_for(lambda: not marked(mark))


def test_hangs_for_ever(steps, start_daemon, hugexec_command, bigtext, expected, mark):  # noqa: F811
    """A worker that hangs while it holds its client is ended after a while, and the client runs on."""
    daemon = start_daemon(None, MARK=mark, HUGEXEC_FAULT="hang:decided")
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    assert ended_well(*launch(words, daemon, mark), expected)
    assert read_report(report) == []
    wait_for(lambda: marked(mark) == [daemon.pid])


@pytest.mark.parametrize("backing", ["file", "thp"])
@pytest.mark.parametrize("victim", ["worker", "server"])
def test_killed_at_any_moment(start_daemon, hugexec_command, bigtext, expected, mark, backing, victim):  # noqa: F811
    """From outside, at moments of chance. Without its server a worker goes on; with the next one all is as before."""
    chance = random.Random(5)
    daemon = start_daemon(None, MARK=mark)
    daemon.wait_until_serving()
    killed = remapped = 0
    wanted = 7 if SANITIZED else 21
    rounds = 0
    while killed < wanted or (victim == "server" and remapped < wanted):
        rounds += 1
        assert rounds < 100 * wanted, f"of {rounds} rounds {killed} met a process to kill, {remapped} were remapped"
        words, report = hugexec_command([bigtext(4), "exit", "9"], backing=backing)
        process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=asking(daemon.path, MARK=mark), preexec_fn=seccomp_filter(*KILLS_PTRACE))
        workers = []
        while not workers and process.poll() is None:
            workers = daemon.workers()
        time.sleep(chance.random() * 0.008)
        for pid in workers if victim == "worker" else [daemon.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        out, err = process.communicate(timeout=60)
        ended_well(process, out, err, expected)
        remapped += [line["outcome"] for line in read_report(report)] == ["remapped"]
        if victim == "server":
            assert daemon.process.wait(30) == -signal.SIGKILL
            assert process.returncode == 9
            daemon.start(MARK=mark)
            daemon.wait_until_serving()
    wait_for(lambda: marked(mark) == [daemon.pid])
