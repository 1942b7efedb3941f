# SPDX-License-Identifier: Apache-2.0
"""While registers are borrowed no signal can arrive: seen from outside, at every step at which the tracer can be held."""
import contextlib
import os
import pathlib
import signal
import subprocess

import pytest

from lib.machine import take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, children_of, status_of, wait_for
from lib.report import read_report
from lib.smaps import smaps

ALL_SIGNALS = 0xffffffffffffffff & ~(1 << (signal.SIGKILL - 1)) & ~(1 << (signal.SIGSTOP - 1))
NUMBER_OF_PAUSE = "34"  # x86-64; what a step of "hang" waits in
# Registers and mask are as the workload is to have them; only the last option is still to be set.
GIVEN_BACK = "handoff-set"
STORM = (signal.SIGURG, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN)


@pytest.fixture(scope="module")
def steps(hugexec):
    listed = subprocess.run([hugexec, "--list-steps"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")
    return listed.stdout.split()


def stopped_in(step, words, mark):
    """A launch whose tracer hangs at STEP, as (Process, tracer's pid); the pid is None where the step is not reached."""
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                      env={**os.environ, "MARK": mark, "HUGEXEC_FAULT": f"hang:{step}"})
    tracer = None

    def arrived():
        nonlocal tracer
        if process.poll() is not None:
            return True
        children = children_of(process.pid)
        if not children or pathlib.Path(f"/proc/{children[0]}/syscall").read_text().split()[0] != NUMBER_OF_PAUSE:
            return False
        tracer = int(children[0])
        return True

    wait_for(arrived)
    return process, tracer


def blocked(pid):
    return int(status_of(pid)["SigBlk"], 16)


@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_masked_whenever_borrowed(steps, hugexec_command, bigtext, mark, backing):
    """A tracer that dies takes the workload along exactly where registers are borrowed: there, and only there, all is blocked.

    Signals that are sent meanwhile, as a Go runtime sends itself SIGURG all the time, wait: none ends or stops it.
    """
    borrowed = []
    with take_hugetlb_pool(32) if backing == "hugetlb" else contextlib.nullcontext():
        for step in steps:
            words, _ = hugexec_command([bigtext(4), "exit", "9"], policy_with(), backing)
            process, tracer = stopped_in(step, words, mark)
            with process:
                if tracer is None:
                    continue
                mask = blocked(process.pid)
                if mask == ALL_SIGNALS:
                    for number in STORM:
                        os.kill(process.pid, number)
                    assert status_of(process.pid)["State"].split()[0] == "t", step
                    assert int(status_of(process.pid)["ShdPnd"], 16) >> (signal.SIGUSR1 - 1) & 1, step
                    borrowed.append(step)
                os.kill(tracer, signal.SIGKILL)
                process.communicate(timeout=120)
                was_killed = process.returncode == -signal.SIGKILL
                assert was_killed == (mask == ALL_SIGNALS) or step == GIVEN_BACK, (step, hex(mask), process.returncode)
    expected = {"file": {"borrowed", "pass-opened", "pass-received", "rebase-passed", "rebase-moved", "rebase-fixed"}}
    assert expected.get(backing, {"borrowed", "memfd-created", "aside", "populated", "switching", "switched"}) <= set(borrowed)
    assert {"handoff-borrowed", "handoff-entry"} <= set(borrowed)


@pytest.mark.parametrize("step", ["memfd-created", "populated", "switched", "handoff-borrowed"])
def test_stopped_while_borrowed(steps, hugexec_command, bigtext, mark, step):
    """SIGSTOP cannot be blocked: what it interrupts is done again, and it holds when the workload is let go."""
    assert step in steps
    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(), "thp")
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                      env={**os.environ, "MARK": mark, "HUGEXEC_FAULT": f"stop:{step}"})
    wait_for(lambda: children_of(process.pid) and status_of(children_of(process.pid)[0])["State"][0] == "T")
    tracer = int(children_of(process.pid)[0])
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(tracer, signal.SIGCONT)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    wait_for(lambda: status_of(process.pid)["TracerPid"] == "0")
    wait_for(lambda: status_of(process.pid)["State"][0] == "T")  # it runs for a moment, to where it stops
    assert read_report(report)[0]["outcome"] == "remapped"
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode == 9


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_nothing_is_left_below_the_stack(steps, hugexec_command, bigtext, mark, backing):
    """What a call needed in the workload's memory is gone when it begins to run: a new program's unused stack is zero."""
    assert "reported" in steps
    words, _ = hugexec_command([bigtext(4), "exit", "9"], policy_with(), backing)
    process, tracer = stopped_in("reported", words, mark)
    with process:
        stack = int(pathlib.Path(f"/proc/{process.pid}/syscall").read_text().split()[-2], 16)
        lowest = max(entry["start"] for entry in smaps(process.pid) if entry["path"] == "[stack]")
        with open(f"/proc/{process.pid}/mem", "rb") as memory:
            memory.seek(lowest)
            unused = memory.read(stack - lowest)
        os.kill(tracer, signal.SIGKILL)
        process.communicate(timeout=120)
    assert len(unused) > 4096 and not unused.strip(b"\0")
