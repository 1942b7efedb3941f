# SPDX-License-Identifier: Apache-2.0
"""hugexecctl advise: yes for a program that needs it, no for one that does not, and what it costs to ask."""
import json
import os
import re
import subprocess
import time

import pytest

from lib.process import Process, children_of, run, status_of, wait_for
from lib.programs import GENERATED, build_bigtext, needed, one_builder
from lib.surroundings import ROOT
from programs import bigtext as bigtext_generator

KIB, MIB = 1 << 10, 1 << 20
FOREVER = "1000000000000"


def advise(hugexecctl, *words, seconds=5):
    done = run([hugexecctl, "advise", "--json", f"--seconds={seconds}", *words])
    if done.returncode and "perf_event_open" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def advise_long_enough(hugexecctl, *words):
    """On a machine that is busy with much else a program needs longer to run enough."""
    for seconds in (5, 40):
        said = advise(hugexecctl, *words, seconds=seconds)
        if said["samples"] >= 300:
            return said
    pytest.skip(f"this machine had too little time for the program: {said['samples']} samples in 40 s")


@pytest.fixture(scope="module")
def cold():
    """62 MiB of text, of which 256 KiB are run."""
    path, text = GENERATED / "cold-62", GENERATED / "cold-62.s"
    with one_builder():
        if not path.exists():
            assembly = bigtext_generator.assembly(62)
            end = "\t.size work_0, .-work_0"
            assert assembly.count(end + "\n") == 1
            assembly = assembly.replace(end, "\tret\n" + end).replace(f".quad {62 * 256}\n", ".quad 64\n")
            text.write_text(assembly, encoding="ascii")
            subprocess.run(["cc", "-O2", "-o", path, ROOT / "tests" / "programs" / "bigtext.c", text], check=True)
            os.sync()
    return str(path)


def test_hot_text_is_yes(hugexecctl):
    program = build_bigtext(62)
    said = advise_long_enough(hugexecctl, "--", program, "loop", FOREVER)
    one = said["objects"][0]
    assert one["path"] == program and one["time_share"] > 0.9 and not one["jit"]
    assert one["text_bytes"] == pytest.approx(62 * MIB, rel=0.01)
    assert 58 * MIB <= one["expected_huge_bytes"] <= one["text_bytes"] + 4096
    if said["counters"] is None:  # with counters it is for them to say
        # A lower bound, and the lower the more often others interrupt the program, which has it sampled at the same places.
        ran_alone = said["samples"] > 0.8 * 250 * said["seconds"]
        assert (35 if ran_alone else 7) * MIB < said["touched_bytes"] < 100 * MIB
        assert said["advice"] == "yes" and said["beyond_second_level"] > 0.5
        assert "no counters" in said["text"]


def test_cold_text_is_no(hugexecctl, cold):
    said = advise_long_enough(hugexecctl, "--", cold, "loop", FOREVER)
    one = said["objects"][0]
    assert one["path"] == cold and one["text_bytes"] == pytest.approx(62 * MIB, rel=0.01)
    assert said["touched_bytes"] < 400 * KIB
    assert said["advice"] == "no" and said["beyond_second_level"] == 0


def test_what_part_is_a_jit_compilers(hugexecctl):
    needed("node")
    script = "function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) }; for (;;) f(30)"
    said = advise_long_enough(hugexecctl, "--", "node", "-e", script)
    jit = [one for one in said["objects"] if one["jit"]]
    if not jit:
        pytest.skip("node has not compiled anything")
    assert jit[0]["path"] is None and said["jit_share"] == pytest.approx(jit[0]["time_share"]) and said["jit_share"] > 0.5
    assert "JIT compiler" in said["text"]


def test_running_processes_and_their_children(hugexecctl):
    program = build_bigtext(8)
    with Process(["sh", "-c", f"{program} loop {FOREVER} & {program} loop {FOREVER}; :"], start_new_session=True) as shell:
        try:
            wait_for(lambda: os.path.exists(f"/proc/{shell.pid}/task/{shell.pid}/children") and
                     len(open(f"/proc/{shell.pid}/task/{shell.pid}/children", encoding="ascii").read().split()) == 2)
            said = advise(hugexecctl, shell.pid, seconds=1)
            assert said["processes"] == 3 and said["threads"] == 3
            assert said["objects"][0]["path"] == program
            state = [line for line in open(f"/proc/{shell.pid}/status", encoding="utf-8") if line.startswith("TracerPid")]
            assert state == ["TracerPid:\t0\n"]
        finally:
            os.killpg(shell.pid, 9)


def test_it_ends_in_time_and_its_cost_is_bounded(hugexecctl, cold):
    """Two seconds more than asked for; 250 samples a second of running time, and no more."""
    with Process([cold, "loop", FOREVER], stdout=subprocess.DEVNULL) as process:
        began = time.monotonic()
        said = advise(hugexecctl, process.pid, seconds=2)
        took = time.monotonic() - began
        assert 2 <= said["seconds"] <= took < 60  # a machine that is busy takes longer; one that hangs, for ever
        assert said["samples"] <= 250 * said["seconds"] * 1.05
        assert process.poll() is None
        process.kill()


def test_a_command_is_ended(hugexecctl, mark):
    done = run(["env", f"MARK={mark}", hugexecctl, "advise", "-s", "0.2", "--", "sh", "-c", "trap '' TERM; exec sleep 1000"])
    if "perf_event_open" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert "unknown: it hardly ran" in done.stdout


def test_text_has_a_picture(hugexecctl):
    for locale, full in {"C": "#", "C.UTF-8": "█"}.items():
        done = run([hugexecctl, "advise", "-s0.5", "--", build_bigtext(8), "loop", FOREVER],
                   env={**os.environ, "LC_ALL": locale}, encoding="utf-8")
        if "perf_event_open" in done.stderr:
            pytest.skip(done.stderr.strip())
        for bar in ("touched", "first level", "second level"):
            assert re.search(rf"^{bar} +[{full}.░]{{40}} +[\d.]+ (B|KiB|MiB)", done.stdout, re.MULTILINE), done.stdout
        assert re.search(r"^(yes|maybe|no|unknown): .*\.$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [[], ["x"], ["-1"], ["--seconds=0", "1"], ["--seconds=nan", "1"], ["--seconds=1h", "1"], ["--"]])
def test_wrong_usage(hugexecctl, words):
    done = run([hugexecctl, "advise", *words])
    assert (done.returncode, done.stdout) == (2, "") and done.stderr


@pytest.mark.parametrize("words, status", [(["1", "--help"], 0), (["-s", "1", "2147483647", "--json"], 1), (["2147483647", "--seconds=0.1"], 1),
                                           (["1", "--nonsense"], 2), (["1", "--", "true"], 2), (["1", "2", "x", "--json"], 2)])
def test_options_behind_a_pid(hugexecctl, words, status):
    done = run([hugexecctl, "advise", *words])
    assert done.returncode == status and (status != 0 or done.stdout.startswith("Usage: ")), done.stderr
    assert status != 1 or done.stderr.startswith("hugexecctl: there is no process 2147483647 ")


def test_options_of_the_command_are_its_own(hugexecctl):
    done = run([hugexecctl, "advise", "-s0.1", "--", "/no/such/program", "--help"])
    assert (done.returncode, done.stderr) == (1, "hugexecctl: /no/such/program: No such file or directory\n")


def test_what_is_not_there(hugexecctl):
    done = run([hugexecctl, "advise", "2147483647"])
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("hugexecctl: there is no process 2147483647 "), done
    done = run([hugexecctl, "advise", "--", "/no/such/program"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hugexecctl: /no/such/program: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_a_process_that_may_not_be_watched_though_its_child_may(hugexecctl):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with Process(["sh", "-c", f"{' '.join(nobody)} sleep 1000 & wait"], start_new_session=True) as shell:
        try:
            wait_for(lambda: any(status_of(child)["Uid"].split()[0] == "65534" for child in children_of(shell.pid)))
            done = run([*nobody, hugexecctl, "advise", "--seconds=1", str(shell.pid)])
            assert (done.returncode, done.stdout) == (1, "") and "perf_event_open" in done.stderr
        finally:
            os.killpg(shell.pid, 9)
