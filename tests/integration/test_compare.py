# SPDX-License-Identifier: Apache-2.0
"""hugexecctl compare: what differs is told, and what does not is not."""
import json
import os
import re
import stat
import subprocess

import pytest

from lib.machine import MIB
from lib.policies import ALL
from lib.process import Process, run, wait_for
from lib.programs import GENERATED, one_builder
from lib.surroundings import ROOT
from programs import bigtext as bigtext_generator


@pytest.fixture(scope="module")
def paced():
    """A program that sleeps so many ms on small pages, and so many on huge ones."""
    path, text, source = GENERATED / "paced", GENERATED / "paced.s", ROOT / "tests" / "programs" / "paced.c"
    with one_builder():
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            text.write_text(bigtext_generator.assembly(6), encoding="ascii")
            subprocess.run(["cc", "-O2", "-o", path, source, text], check=True)
            os.sync()
    return str(path)


@pytest.fixture
def compare(hugexecctl, write_policy):
    def call(*words, pairs=8, policy=ALL, json_wanted=True):
        options = [f"--policy={write_policy(policy)}", f"--pairs={pairs}", *(["--json"] if json_wanted else [])]
        done = run([hugexecctl, "compare", *options, *words])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if json_wanted else done.stdout

    return call


def remapped(said):
    program, = said["programs"]
    if program["outcome"] != "remapped":
        pytest.skip(f"not remapped: {program['reason']}")
    return program


def compared(compare, *words):
    """What is said in the end: on a busy machine noise may leave it unclear at first."""
    for _ in range(5):
        said = compare("--", *words)
        remapped(said)
        if said["verdict"] != "unclear":
            break
    return said


@pytest.mark.alone
def test_what_is_faster_is_said_to_be(compare, paced):
    said = compared(compare, paced, "200", "100")
    program = remapped(said)
    assert program["exe"] == paced and program["text_bytes"] >= 6 * MIB and program["huge_bytes"] >= 2 * MIB
    wall = said["measures"]["wall_us"]
    assert said["verdict"] == "faster" and said["text"].startswith("faster under hugexec: it takes ")
    assert wall["low"] <= wall["change"] <= wall["high"] < -0.01
    assert 200_000 <= wall["plain"] and 100_000 <= wall["hugexec"] < wall["plain"]
    assert (said["pairs"], said["confidence"]) == (8, 0.99)
    assert said["tlb"]["huge_pages"] in ("holds", "splits", "unknown")
    assert said["measures"]["page_faults"]["plain"] > 0 and said["measures"]["cpu_us"]["plain"] > 0


@pytest.mark.alone
def test_what_is_slower_is_said_to_be(compare, paced):
    said = compared(compare, paced, "100", "200")
    assert said["verdict"] == "slower" and said["measures"]["wall_us"]["low"] > 0.01
    assert "a start by hugexec" not in said["text"]


@pytest.mark.alone
def test_the_same_is_no_difference(compare, paced):
    """But for the start, which may stand out: on a busy machine by more than it costs on a quiet one, so a start is compared, too."""
    start = compare("--", paced, "1", "1")["measures"]["wall_us"]
    said = compare("--", paced, "400", "400")
    remapped(said)
    wall = said["measures"]["wall_us"]
    assert said["text"].startswith("no difference") or "about what a start by hugexec costs" in said["text"] or \
        wall["low"] * wall["plain"] < max(20_000, 2 * (start["hugexec"] - start["plain"]))
    assert said["verdict"] != "faster"


def test_text_for_people(compare, paced):
    said = compare("--", paced, "20", "20", json_wanted=False)
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert "8 pairs of runs" in said
    assert lines["wall"].count("ms") == 2 and "%" in lines["wall"] and "(" in lines["wall"]
    assert lines["text"].split()[1] == "paced:"


def test_too_few_pairs_tell_nothing(compare, paced):
    said = compare("--", paced, "100", "20", pairs=7)
    remapped(said)
    wall = said["measures"]["wall_us"]
    assert said["verdict"] == "too-few" and wall["low"] is None and wall["high"] is None


def test_what_hugexec_leaves_alone_is_not_compared(compare, paced):
    said = compare("--", paced, "20", "20", policy={"version": 1, "default": "skip", "rules": []})
    assert said["verdict"] == "not-remapped"
    program, = said["programs"]
    assert program["outcome"] == "skipped" and program["reason"].startswith("no-rule")
    assert not (said["plain_text"] or {}).get("switched_off")


def test_what_a_script_runs_is_compared(compare, paced, tmp_path):
    """And a parent that takes notice of its children: else nobody could follow."""
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\n{paced} 100 20\n", encoding="utf-8")
    script.chmod(stat.S_IRWXU)
    policy = {"version": 1, "rules": [{"name": "paced", "match": {"exe": paced}, "min_text": 0}]}
    said = compare("--", script, policy=policy)
    assert "no-reaper" not in json.dumps(said["programs"])


def test_text_that_the_page_cache_has_is_small_in_the_plain_runs(compare, bigtext):
    """A program at a fixed address has it huge by itself, once hugexec has prepared its file."""
    program = bigtext(8, name="no-pie", command=("cc", "-no-pie"))
    said = compare("--backing=file", "--", program, "loop", "300")
    if not remapped(said)["huge_bytes"] or not said["plain_text"] or not said["plain_text"]["huge_bytes"]:
        pytest.skip("its file's text is not on huge pages without hugexec here")
    assert said["plain_text"]["switched_off"] is True
    faults = said["measures"]["page_faults"]
    assert faults["plain"] > 0


@pytest.mark.parametrize("words", [[], ["-n", "0", "--", "true"], ["-n", "x", "--", "true"], ["-n", "501", "--", "true"],
                                   ["--backing=gold", "--", "true"]])
def test_wrong_usage(hugexecctl, words):
    done = run([hugexecctl, "compare", *words])
    assert (done.returncode, done.stdout) == (2, "") and done.stderr


def test_a_command_that_is_not_there(hugexecctl):
    done = run([hugexecctl, "compare", "--", "/no/such/program"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hugexecctl: /no/such/program: No such file or directory\n"


def test_a_command_that_fails(hugexecctl, paced, write_policy):
    done = run([hugexecctl, "compare", "--", paced, "1", "1", "3"])
    assert (done.returncode, done.stdout) == (1, "")
    assert "ended with status 3; --ignore-failure" in done.stderr
    words = [f"--policy={write_policy(ALL)}", "-n8", "--ignore-failure", "--json", "--", paced, "1", "1", "3"]
    done = run([hugexecctl, "compare", *words])
    assert done.returncode == 0 and json.loads(done.stdout)["pairs"] == 8


@pytest.mark.parametrize("more", [[], ["--ignore-failure"]])
def test_a_command_that_hugexec_does_not_start(hugexecctl, paced, write_policy, more):
    """As the policy asks for a failure: said as that, with the reason, and no run that is compared."""
    policy = {"version": 1, "settings": {"on_error": "fail"}, "rules": 1}
    done = run([hugexecctl, "compare", f"--policy={write_policy(policy)}", "-n1", *more, "--", paced, "1", "1", "3" if more else "0"])
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f'hugexecctl: under hugexec {paced} is not started (status 125), as "on_error": "fail" asks: ')
    assert re.search(r"asks: [a-z-]+: .", said), said


def test_a_command_that_ends_as_hugexec_would(hugexecctl, paced):
    done = run([hugexecctl, "compare", "-n1", "--", paced, "1", "1", "125"])
    assert done.returncode == 1 and f"{paced} ended with status 125" in done.stderr


def test_standard_error_is_shown_once(hugexecctl):
    done = run([hugexecctl, "compare", "-n8", "--", "sh", "-c", "echo said >&2; echo unsaid"])
    assert done.returncode == 0
    assert done.stderr == "said\n" and "unsaid" not in done.stdout.splitlines()


def test_killed(hugexecctl):
    done = run([hugexecctl, "compare", "--", "sh", "-c", "kill -9 $$"])
    assert done.returncode == 1 and "killed by signal 9" in done.stderr


@pytest.mark.alone
def test_its_report_is_gone(hugexecctl):
    before = set(os.listdir("/tmp"))
    run([hugexecctl, "compare", "-n1", "--", "true"])
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("hugexecctl-compare-")]


def measured_server(hugexecctl, words, *options):
    """What compare says of a server that was started by WORDS."""
    with Process(words, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: os.path.basename(os.readlink(f"/proc/{process.pid}/exe")).startswith("bigtext"), process=process)
        done = run([hugexecctl, "compare", *options, process.pid])
        process.kill()
    return done


def test_a_server_before_and_after(hugexecctl, hugexec, write_policy, bigtext, tmp_path):
    """One that is as busy as before has no difference, or none that stands out; the restart with no text on huge pages is told."""
    program, kept = bigtext(8), tmp_path / "before"
    loop = [program, "loop", "1000000000000"]
    done = measured_server(hugexecctl, loop, f"--before={kept}", "--seconds=2")
    assert done.returncode == 0 and f"--after={kept}" in done.stdout, done.stderr
    said = json.loads(measured_server(hugexecctl, loop, f"--after={kept}", "--json").stdout)
    assert said["verdict"] == "not-remapped" and said["seconds"] == 2 and said["measures"]["cpu_us"]["before"] > 0
    launch = [hugexec, f"--policy={write_policy(ALL)}", "--backing=thp", "--", *loop]
    said = json.loads(measured_server(hugexecctl, launch, f"--after={kept}", "--json").stdout)
    if said["huge_bytes"] == 0:
        pytest.skip("its text is not on huge pages here")
    cpu = said["measures"]["cpu_us"]
    # A part in which it had no processor, on a busy machine, makes a change from nothing.
    change, high = (1e9 if cpu[name] is None else cpu[name] for name in ("change", "high"))
    assert said["verdict"] in ("less", "more", "same", "unclear") and cpu["low"] <= change <= high


def test_a_server_of_which_nothing_was_kept(hugexecctl, tmp_path):
    for text in ("", "[]", '{"seconds": 2, "cpu_us": [1], "page_faults": [], "huge_bytes": 0}', '{"seconds": 1e99}'):
        (tmp_path / "before").write_text(text, encoding="utf-8")
        done = run([hugexecctl, "compare", f"--after={tmp_path / 'before'}", os.getpid()])
        assert (done.returncode, done.stdout) == (1, "") and "not what compare --before has written" in done.stderr
    done = run([hugexecctl, "compare", f"--after={tmp_path / 'nothing'}", os.getpid()])
    assert done.returncode == 1 and "No such file" in done.stderr
    done = run([hugexecctl, "compare", f"--before={tmp_path / 'before'}", "-s2", "2147483647"])
    assert done.returncode == 1 and "there is no process 2147483647 " in done.stderr
    for words in (["-s1", "1"], ["x"], ["1", "2"], []):
        assert run([hugexecctl, "compare", f"--before={tmp_path / 'before'}", *words]).returncode == 2
