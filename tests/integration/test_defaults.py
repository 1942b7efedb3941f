# SPDX-License-Identifier: Apache-2.0
"""docs/programs.md says what the shipped policy does with programs that people run: those that are here are started."""
import json
import os
import re
import shutil

import pytest

from lib.machine import MIB
from lib.policies import PATIENT
from lib.process import run
from lib.programs import UNPACKED
from lib.report import split_report
from lib.surroundings import ROOT

TABLE = dict(re.findall(r"^\| `([^`]+)` \| (\S+) \|", (ROOT / "docs/programs.md").read_text(encoding="utf-8"), re.MULTILINE))
# What they are asked, where it is not --version; and whose report counts, where it is not the program's own.
ASKED = {"go": ["version"], "java": ["-version"], "nginx": ["-v"], "php": ["-v"], "node": ["-e", "0"], "gcc": ["-c", "-o", "/dev/null", "-x", "c", "/dev/null"],
         "clang": ["-c", "-o", "/dev/null", "-x", "c", "/dev/null"], "perl": ["-e", "1"], "python3": ["-c", "0"]}
PLACES = [*os.environ["PATH"].split(":"), "/usr/sbin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin", f"{UNPACKED}/usr/bin", f"{UNPACKED}/usr/sbin"]


def find(name):
    """As Debian has it: a shell's wrapper of the same name (pyenv, rustup) is another program."""
    found = shutil.which(name, path=":".join(place for place in PLACES if "/.pyenv/" not in place and "/.cargo/" not in place))
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def has_huge_pages(hugexecctl):
    backings = json.loads(run([hugexecctl, "doctor", "--json"]).stdout)["backings"]
    return backings["file"] or backings["thp"]


@pytest.fixture
def shipped(write_policy):
    """The shipped policy, patient with a machine that is busy with something else."""
    policy = json.loads((ROOT / "config/policy.json").read_text(encoding="utf-8"))
    policy["settings"].update(PATIENT, hold_timeout="60s")
    return write_policy(policy)


@pytest.mark.parametrize("name", TABLE)
def test_by_default(hugexec, shipped, has_huge_pages, name):
    program = find(name)
    if TABLE[name] == "huge" and not has_huge_pages:
        pytest.skip("neither file nor thp works here")
    done = run([hugexec, f"--policy={shipped}", "--report=-", "--", program, *ASKED.get(name, ["--version"])])
    if done.returncode != 0:
        pytest.skip(f"{name} does not run here: {done.stderr[-200:]}")
    reports = split_report(done.stderr)[1]
    if name in ("gcc", "make"):
        line = reports[-1]
    else:
        line, = [report for report in reports if report["text_bytes"] > 0 or report["outcome"] != "skipped"] or reports[-1:]
    if name == "node" and line["text_bytes"] < 4 * MIB:
        pytest.skip("Debian 13's node has its text in libnode, as docs/programs.md says")
    said = "huge" if line["outcome"] == "remapped" else line["reason"].split(":")[0]
    assert said == TABLE[name], line["reason"]
    if name == "gcc" and has_huge_pages:
        assert [report["outcome"] for report in reports if report["exe"].endswith("/cc1")] == ["remapped"]


def test_every_program_has_a_word():
    reasons = (ROOT / "shim/base/reason.def").read_text(encoding="utf-8")
    assert len(TABLE) >= 15 and all(word == "huge" or f'"{word}"' in reasons for word in TABLE.values())
