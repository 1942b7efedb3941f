# SPDX-License-Identifier: Apache-2.0
"""make bench-docs finds its places in the documents as they are, and leaves them alone if the machine had much else to do."""
import copy
import json
import shutil
import subprocess
import sys

import pytest

from lib.surroundings import ROOT

COMMANDS = {"env": 0.81, "file": 2.34, "hugetlb": 45.6, "thp": 78.9, **{f"no rule of {count}, follow exec": 0.9 for count in (1, 20, 200)}}
HELD = {"held_ms": 1.25, "ratio_to_true": 0.75}
RESULTS = {
    "machine": {"kernel": "7.9.1-some", "processors": 12, "rounds": 23, "others_share": 0.04},
    "launch": {"commands": {name: {"added_ms": ms, "ratio_to_env": 1.44, "held_ms": 1.5, "huge_bytes": 30 << 20, "text_bytes": 31 << 20}
                            for name, ms in COMMANDS.items()}},
    "hold": {kind: {4: HELD, 62: HELD} for kind in ("fixed", "pie", "fixed, ends too", "pie, ends too")},
    "linearity": {"file": {"added_ms": {"4": 1.0, "62": 2.0}}},
}
del RESULTS["launch"]["commands"]["env"]["held_ms"]


@pytest.fixture
def documents(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/design.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def put(documents, *options, results=RESULTS):
    (documents / "results.json").write_text(json.dumps(results))
    return subprocess.run([sys.executable, ROOT / "tests/bench/docs.py", *options, documents / "results.json", documents], capture_output=True,
                          text=True, check=False)


def texts(documents):
    return [(documents / name).read_text(encoding="utf-8") for name in ("README.md", "docs/design.md")]


def test_figures_come_where_they_belong(documents):
    for _ in range(2):
        done = put(documents)
        assert done.returncode == 0, done.stderr
    readme, design = texts(documents)
    for cell in ("| hugexec, `file`, warm | 2.3 ms (held for 1.5) |", "| hugexec, `hugetlb` | 46 ms (held for 1.5) |", "| `env` | 0.8 ms |",
                 "(30 of 31 MiB)", "of 200 rules: 1.4 times", "12 processors (Linux 7.9, warm cache)", "medians of 23\npaired runs"):
        assert readme.count(cell) == 1, cell
    assert design.count("| position-independent, moved | 1.25, 0.75 | 1.25, 0.75 |") == 1
    before = [(ROOT / name).read_text(encoding="utf-8").splitlines() for name in ("README.md", "docs/design.md")]
    changed = [sum(line not in old for line in text.splitlines()) for old, text in zip(before, (readme, design), strict=True)]
    assert changed[0] <= 8 and changed[1] <= 8, changed
    assert "<svg" in (documents / "docs/bench.svg").read_text(encoding="utf-8")


def test_a_busy_machine(documents):
    busy = copy.deepcopy(RESULTS)
    busy["machine"]["others_share"] = 0.5
    before = texts(documents)
    done = put(documents, results=busy)
    assert done.returncode == 1 and "other programs took 50 %" in done.stderr and texts(documents) == before
    assert put(documents, "--anyway", results=busy).returncode == 0 and texts(documents) != before


@pytest.mark.parametrize("name, place", [("README.md", "| `env` |"), ("docs/design.md", "<!-- made by make bench-docs -->")])
def test_a_place_that_is_gone(documents, name, place):
    path = documents / name
    path.write_text(path.read_text(encoding="utf-8").replace(place, "gone"), encoding="utf-8")
    before = texts(documents)
    done = put(documents)
    assert done.returncode == 1 and done.stderr.startswith("docs: ") and texts(documents) == before
