# SPDX-License-Identifier: Apache-2.0
"""The tracer is killed: the workload completes normally or is killed; never wrong code, never a hang."""
import contextlib
import os
import random
import re
import signal
import subprocess
import time

import pytest

from lib.machine import take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, children_of, marked, run, status_of, wait_for
from lib.report import read_report
from lib.steps import DISABLE, ENABLE, HELPER_STEPS, SHARE, TAKE_BACK
from lib.surroundings import ROOT

# Steps that only some kinds of launch take; the others must be reached under one of the backings.
NOT_ON_THE_WAY = {"allocated": "a child of the tracer's", "allocated-inside": "a tracer from elsewhere",
                  "libraries-prepared": "libraries", "library-stop": "libraries", "map-hinted": "libraries on overlayfs",
                  "handoff-stub": "processors whose programs could see the last call's result",
                  "fill-helper": "text of more than a few MiB",
                  "awaiting": "libraries that are loaded later", "awaited": "libraries that are loaded later",
                  **dict.fromkeys(("shared-prepared", "shared-opened", "shared-mapped"), "libraries that have a copy for all processes"),
                  "attached": "attach", "frozen": "attach", "frozen-call": "attach",
                  "hook-seized": "the hook", **dict.fromkeys(HELPER_STEPS, "hugexecd")}
AFTER_REPORT = ("reported", "handoff")


def pool_for(backing):
    return take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext()


def test_every_step_is_listed(steps):
    """What is not is killed and swapped at by no test."""
    sources = "".join(path.read_text() for folder in ("shim", "oci-hook") for path in (ROOT / folder).rglob("*.c"))
    assert set(re.findall(r'fault_point\("([a-z-]+)"\)', sources)) == {*steps, *ENABLE, *TAKE_BACK, *DISABLE, *SHARE}


def launch(words, mark, **environment):
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "MARK": mark, **environment})
    return process, *process.communicate(timeout=120)


def check_ended_well(process, out, err, expected):
    """Completed as the plain program does, or killed before its first instruction."""
    if process.returncode == -signal.SIGKILL:
        assert out == "" and err == ""
    else:
        assert (out, err, process.returncode) == (expected, "", 9)


def test_killed_after_each_step(steps, hugexec_command, bigtext, mark):
    program = bigtext(4)
    expected = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    reached = set()
    killed = []
    left = steps
    for _ in range(2):  # once more for what was not reached: another test may have the file in use, so that it is not moved
        for backing in ("file", "hugetlb", "thp"):
            with pool_for(backing):
                for step in left:
                    # The tracer of a program that is stopped once more at its entry point is no child of it: no hand-off.
                    policy = policy_with(libraries=not step.startswith("handoff"), round_out=step == "widened")
                    words, report = hugexec_command([program, "exit", "9"], policy, backing)
                    process, out, err = launch(words, mark, HUGEXEC_FAULT=f"kill:{step}")
                    check_ended_well(process, out, err, expected)
                    if process.returncode == -signal.SIGKILL:
                        killed.append(step)
                    reports = read_report(report)
                    if step.startswith(AFTER_REPORT) or not reports or any(
                            word in str(reports[0]["reason"]) for word in ("tracer-killed", "the process that was to do this was killed")):
                        reached.add(step)
        left = sorted(set(steps) - reached - set(NOT_ON_THE_WAY))
    assert not left
    # Registers are borrowed in few of the steps only: elsewhere the workload survives.
    assert not {"borrowed", "populated", "handoff-borrowed", "handoff-entry"} - set(killed)
    assert not {"tracer-started", "seized", "exec-stop", "decided", "filled", "sealed", "verified", "reported"} & set(killed)
    wait_for(lambda: not marked(mark))


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_killed_at_any_moment(hugexec_command, bigtext, mark, backing):
    """The same from outside, at moments of chance."""
    program = bigtext(16)
    expected = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    chance = random.Random(2)
    killed, longest = 0, 0.008
    for _ in range(150):
        words, _ = hugexec_command([program, "exit", "9"], backing=backing)
        process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env={**os.environ, "MARK": mark})
        tracer = None
        while tracer is None and process.poll() is None:
            with contextlib.suppress(OSError):
                children = children_of(process.pid)
                tracer = int(children[0]) if children else None
        time.sleep(chance.random() * longest)
        longest *= 0.9  # as long as a launch takes on this machine: a tracer that has ended makes it shorter, one that is met longer
        with contextlib.suppress(OSError):
            if status_of(tracer)["PPid"] == str(process.pid):
                os.kill(tracer, signal.SIGKILL)
                killed += 1
                longest *= 1.3
        out, err = process.communicate(timeout=120)
        check_ended_well(process, out, err, expected)
    assert killed > 30
    wait_for(lambda: not marked(mark))


def test_helper_killed(steps, hugexec_run, bigtext):
    """Whoever helps to fill a large copy is killed with a part in its hands: no copy is used that may have a hole."""
    assert "fill-helper" in steps
    program = bigtext(62)
    expected = run([program, "exit", "9"])
    done, report = hugexec_run([program, "exit", "9"], backing="thp", env={**os.environ, "HUGEXEC_FAULT": "kill:fill-helper"})
    assert (done.stdout, done.stderr, done.returncode) == (expected.stdout, "", 9)
    assert report[0]["outcome"] == "failed" and report[0]["reason"].startswith("remap: the process that helped")
    assert report[0]["huge_bytes"] == 0


NEVER_REAPS = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come here, and stay dead
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("file_timeout, word", [("60s", "tracer-killed"), ("500ms", "hold-timeout")])
def test_tracer_that_is_never_ready(steps, hugexec_command, bigtext, mark, file_timeout, word):
    """As one that closes a file on a server which does not answer: the launch waits for it for some seconds, not for ever."""
    assert "tracer-started" in steps
    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(file_timeout=file_timeout, hold_timeout="2s"), "thp")
    process, out, _ = launch(words, mark, HUGEXEC_FAULT="hang:tracer-started")
    assert process.returncode == 9 and out.startswith("bigtext: ")
    assert read_report(report)[0]["reason"].startswith(f"{word}: the tracer was not ready")
    wait_for(lambda: not marked(mark))


def test_killed_and_never_reaped(steps, hugexec_command, bigtext, mark):
    """Where nobody would reap the tracer of a wrapper there is none: the launch waits for no zombie."""
    assert "tracer-started" in steps
    words, report = hugexec_command(["env", bigtext(4), "exit", "9"], policy_with(min_text="3M"), "thp")
    command = ["/usr/bin/python3", "-c", NEVER_REAPS, *words]
    process, out, _ = launch(command, mark, HUGEXEC_FAULT="kill:tracer-started")
    assert process.returncode == 9 and out.startswith("bigtext: ")
    assert read_report(report)[0]["reason"].startswith("no-reaper: ")


# Hears of its children's ends, so it is taken for one that reaps; reaps the one that it knows, and no orphan.
REAPS_ITS_OWN = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
signal.signal(signal.SIGCHLD, lambda *_: None)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, setsigdef=[signal.SIGCHLD])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_killed_and_a_zombie(steps, hugexec_command, bigtext, mark):
    """The launch sees that the tracer of its wrapper is dead, though that stays a zombie."""
    assert "tracer-started" in steps
    words, report = hugexec_command(["env", bigtext(4), "exit", "9"], policy_with(min_text="3M"), "thp")
    command = ["/usr/bin/python3", "-c", REAPS_ITS_OWN, *words]
    process, out, _ = launch(command, mark, HUGEXEC_FAULT="kill:tracer-started")
    assert process.returncode == 9 and out.startswith("bigtext: ")
    assert read_report(report)[0]["reason"].startswith("tracer-killed: the tracer has ended")


def test_killed_at_once(steps, hugexec_command, bigtext, mark):
    """The launch sees that its tracer has ended, and goes on then, not when it would be tired of waiting for one that lives."""
    assert "tracer-started" in steps
    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(), "thp")
    process, out, _ = launch(words, mark, HUGEXEC_FAULT="kill:tracer-started")
    assert process.returncode == 9 and out.startswith("bigtext: ")
    assert read_report(report)[0]["reason"].startswith("tracer-killed: ") and "not ready" not in read_report(report)[0]["reason"]
