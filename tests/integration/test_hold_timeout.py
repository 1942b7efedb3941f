# SPDX-License-Identifier: Apache-2.0
"""hold_timeout: whatever hugexec waits for before a program's first instruction, the program starts when that time is over."""
import os
import subprocess
import time

import pytest

from lib.fuse_files import FLUSH, OPEN, READ, WRITE, fuse_files
from lib.policies import policy_with
from lib.process import Process, run
from lib.report import read_report
from lib.unwritable import full_pipe, stopped_terminal
from programs import bigtext as bigtext_generator

LIMIT_MS = 300
LONG_MS = 3000
# What may be added until it is over and told: see docs/design.md. Everything here would last for ever without a limit.
EXCESS_MS = 20000
HANG = 120  # more than lib.fuse_files.SILENCE

MAIN = '#include <stdio.h>\nint main(void) { puts("ran"); return 9; }\n'
MIB = 1 << 20


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """It has 8 MiB of text, of which it runs the first page only: a plain start needs nothing from the middle of its file."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "main.c").write_text(MAIN, encoding="ascii")
    (folder / "text.s").write_text(bigtext_generator.assembly(8), encoding="ascii")
    subprocess.run(["cc", "-o", "program", "main.c", "text.s"], cwd=folder, check=True)
    return (folder / "program").read_bytes()


def limits(hold_ms):
    return policy_with(hold_timeout=f"{hold_ms}ms", file_timeout="100ms")


def is_ours(command):
    return command.startswith("hugexec-")  # the tracer, its children and the readers


FIRST = []


def all_but_the_first(opcode):
    FIRST.append(opcode)
    return len(FIRST) > 1


# What a server does not answer, of the program's file; the report's file has a place of its own.
SILENT = {
    "reading the text": lambda opcode, name, offset, command: opcode == READ and 2 * MIB <= offset < 6 * MIB,
    "opening it": lambda opcode, name, offset, command: is_ours(command),
    "closing it": lambda opcode, name, offset, command: opcode == FLUSH and is_ours(command),
}


@pytest.mark.parametrize("backing", ["thp", "file", "file,thp"])
@pytest.mark.parametrize("silent", SILENT)
def test_a_server_that_does_not_answer_for_the_program(hugexec_command, program, tmp_path, silent, backing):
    """It falls silent when the kernel has executed the program: this starts plain, and it starts with us."""
    with fuse_files(tmp_path / "mnt", SILENT[silent], program=program) as files:
        files.hold()
        path = tmp_path / "mnt" / "program"
        assert run([path], timeout=HANG).stdout == "ran\n" and files.count_held() == 0
        words, report = hugexec_command([path], limits(LIMIT_MS), backing)
        with Process(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert (process.communicate(timeout=HANG), process.returncode) == (("ran\n", ""), 9)
        assert files.is_there()
        [line] = read_report(report)
        assert line["outcome"] == "failed" and line["latency_us"] < (LIMIT_MS + EXCESS_MS) * 1000, line
        if "thp" in backing:
            assert files.count_held() > 0 and f"hold-timeout: the limit of {LIMIT_MS} ms is over" in line["reason"], line


def test_it_is_the_setting_that_counts(hugexec_command, program, tmp_path):
    """With ten times the limit it is held for ten times as long."""
    held_us = {}
    for limit_ms in (LIMIT_MS, LONG_MS):
        with fuse_files(tmp_path / "mnt", SILENT["reading the text"], program=program) as files:
            files.hold()
            words, report = hugexec_command([tmp_path / "mnt" / "program"], limits(limit_ms), "thp")
            assert run(words, timeout=HANG).returncode == 9 and files.is_there()
            [line] = read_report(report)
            assert line["reason"] == f"hold-timeout: the limit of {limit_ms} ms is over; raise hold_timeout or file_timeout in the policy"
            held_us[limit_ms] = line["latency_us"]
    # The clock of the limit starts with hugexec, a moment before that of the report.
    assert held_us[LONG_MS] > LONG_MS * 1000 - 1000000 > held_us[LIMIT_MS] - EXCESS_MS * 1000


@pytest.mark.parametrize("action", ["remap", "skip"])
@pytest.mark.parametrize("what", [OPEN, WRITE, FLUSH], ids=["open", "write", "flush"])
def test_a_server_that_does_not_answer_for_the_report(hugexec, write_policy, bigtext, tmp_path, what, action):
    """Neither when it is opened, nor when it is written to or closed, which every process does that ends."""
    FIRST.clear()

    def is_held(opcode, name, offset, command):
        return opcode == what and name == "report" and (what != FLUSH or all_but_the_first(opcode))

    policy = limits(LIMIT_MS)
    policy["rules"][0]["action"] = action
    with fuse_files(tmp_path / "mnt", is_held, report=b"") as files:
        files.hold()
        words = [hugexec, "-v", f"--policy={write_policy(policy)}", "--backing=thp", f"--report={tmp_path}/mnt/report", "--",
                 bigtext(8), "exit", "9"]
        done = run(words, timeout=HANG)
        assert files.is_there() and done.returncode == 9 and done.stdout == run([bigtext(8), "exit", "9"]).stdout
        assert "hugexec: bigtext-pie-8: " in done.stderr and ("it takes nothing" in done.stderr or what == FLUSH), done.stderr
        assert files.count_held() > 0 or (what, action) == (FLUSH, "skip")


@pytest.mark.parametrize("place", [full_pipe, stopped_terminal], ids=lambda place: place.__name__)
@pytest.mark.parametrize("action", ["remap", "skip"])
def test_a_standard_error_that_takes_nothing(hugexec, write_policy, bigtext, tmp_path, place, action):
    """The report that can be written tells how long the rest took; the time to tell is taken from what the limit leaves."""
    policy = limits(LIMIT_MS)
    policy["rules"][0]["action"] = action
    report = tmp_path / "report"
    with place(tmp_path) as (stderr, _):
        words = [hugexec, "-v", f"--policy={write_policy(policy)}", "--backing=thp", f"--report={report}", "--", bigtext(8), "exit", "9"]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, timeout=HANG, check=False)
    assert done.returncode == 9 and read_report(report)[0]["latency_us"] < (LIMIT_MS + EXCESS_MS) * 1000


def test_the_time_to_tell_is_part_of_it(hugexec, write_policy, bigtext, tmp_path):
    """What takes nothing is waited for no longer than the limit leaves, also where nothing else was to be done."""
    least = {}
    for limit in (f"{LIMIT_MS}ms", "60s"):
        policy = {"version": 1, "rules": [{"match": {}, "action": "skip", "hold_timeout": limit, "file_timeout": "100ms"}]}
        words = [hugexec, "-v", f"--policy={write_policy(policy)}", "--", bigtext(8), "idle"]
        with full_pipe(tmp_path) as (stderr, _):
            for _ in range(5):
                began = time.monotonic()
                assert subprocess.run(words, stdout=subprocess.DEVNULL, stderr=stderr, timeout=HANG, check=False).returncode == 0
                least[limit] = min(least.get(limit, HANG), time.monotonic() - began)
    assert least[f"{LIMIT_MS}ms"] < least["60s"] - 0.2, least


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_build_id_is_read_from_a_server_that_answers(hugexec_run, program, tmp_path):
    """A rule may want it; nothing is lost for files that others serve, but the backing that maps them in place."""
    with fuse_files(tmp_path / "mnt", lambda *_: False, program=program):
        path = tmp_path / "mnt" / "program"
        done, [line] = hugexec_run([path], limits(60000), "file,thp")
        assert (done.stdout, done.returncode, line["outcome"], line["backing"]) == ("ran\n", 9, "remapped", "thp"), line
        build_id = line["objects"][0]["build_id"]
        policy = {"version": 1, "rules": [{"name": "by build id", "match": {"build_id": build_id}, "min_text": 0, "file_timeout": "60s"}]}
        done, [line] = hugexec_run([path], policy, "thp")
        assert (done.returncode, line["rule"], line["outcome"]) == (9, "by build id", "remapped"), line
        done, [line] = hugexec_run([path], policy, "file")
        assert line["reason"].startswith("file-unsupported: another computer or a process serves it")
