"""
bench-itlb's own correctness: the model against a second implementation, by made traces and by a real program's; a real
program twice; the layouts against what hugexec does to real programs. tests/unit/test_itlb.c has what can be computed by hand.
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BUILD, ROOT, policy_with, read_report

sys.path.insert(0, str(ROOT / "tests" / "bench" / "itlb"))
import simulate  # noqa: E402  (found through the line above)

FOLDER = BUILD / "tests" / "bench" / "itlb"
PLUGIN = FOLDER / "itlb.so"
SLOW = ROOT / "tests" / "bench" / "itlb" / "slow.py"
MIB, PAGE = 1 << 20, 1 << 12
KINDS = ("program", "library", "later", "loader")


@pytest.fixture(scope="module", name="qemu")
def qemu_fixture():
    reason = simulate.why_not(PLUGIN)
    if reason:
        pytest.skip(reason)


def both(trace, tmp_path):
    """What the fast and the slow implementation count of TRACE, a file."""
    with open(trace, encoding="ascii") as file:
        fast = subprocess.run([FOLDER / "itlb-replay"], stdin=file, capture_output=True, text=True, check=True).stdout
    (tmp_path / "fast.json").write_text(fast)
    with open(trace, encoding="ascii") as file:
        slow = subprocess.run([sys.executable, SLOW, tmp_path / "fast.json"], stdin=file, capture_output=True, text=True,
                              check=True).stdout
    return json.loads(fast), json.loads(slow)


def counts_of(results):
    return {each["name"]: (each["misses"], each["walks"]) for each in results["processors"]}


def made_objects(chance):
    """A program and libraries of each kind, at addresses that no linker would choose; as lines of a trace, and their code."""
    lines, codes = [], []
    for number, kind in enumerate((0, 1, 1, 2, 3)):
        offset = chance.randrange(600) * PAGE
        length = chance.choice((300, 700, 2000, 5000)) * PAGE
        distance = chance.choice((0, 0x154)) * PAGE + 0x10000000 * (number + 1)
        before = chance.randrange(4) * PAGE
        section = offset + chance.randrange(300) * 77
        numbers = (number, kind, chance.randrange(2), offset, length + before, offset + before, length,
                   distance + offset + before, section, chance.randrange(length), 0x700000000000 + number * 0x10000000)
        lines.append("O " + " ".join(f"{each:x}" for each in numbers))
        codes.append((number, offset, length + before + 8 * PAGE))
    return lines, codes


def walk(chance, pages):
    """Page numbers below PAGES as programs have them: near the last ones mostly, now and then elsewhere."""
    at = 0
    while True:
        if chance.random() < 0.3:
            at = int(pages * chance.random() ** 3)
        yield (at + chance.randrange(chance.choice((2, 30, 400)))) % pages


def made_trace(seed, events):
    chance = random.Random(seed)
    lines, codes = made_objects(chance)
    code_walks = [walk(chance, length // PAGE) for _, _, length in codes]
    data_walk = walk(chance, 4000)
    for _ in range(events):
        core = chance.randrange(2)
        which = chance.randrange(len(codes) + 4)
        if which < len(codes):
            number, offset, _ = codes[which]
            lines.append(f"F {core:x} {number:x} {offset + next(code_walks[which]) * PAGE:x}")
        elif which == len(codes):
            lines.append(f"A {core:x} {0x7000000 + chance.randrange(90) * PAGE:x}")
        else:
            lines.append(f"D {core:x} {0x9000000 + next(data_walk) * PAGE + 8:x} {chance.randrange(2)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(3))
def test_made_traces(tmp_path, seed):
    """Many more pages than TLBs have entries, of all kinds, on two threads."""
    (tmp_path / "trace").write_text(made_trace(seed, 15000))
    fast, slow = both(tmp_path / "trace", tmp_path)
    assert fast["layouts"] == slow["layouts"]
    assert counts_of(fast) == counts_of(slow)
    for misses, walks in counts_of(fast).values():
        assert all(miss > walk > 0 for miss, walk in zip(misses, walks))


def run_simulated(command, out, **arguments):
    subprocess.run(simulate.command_for(PLUGIN, command, out=out, **arguments), env=simulate.environment(),
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return simulate.results_of(out)


SCRIPT = "import json, re; print(len(json.dumps([re.sub('a', str(i), 'banana') for i in range(2000)])))"
PYTHON = ("/usr/bin/python3", "-c", SCRIPT)


def test_real_trace(qemu, tmp_path):  # pylint: disable=unused-argument
    """The plugin counts what both implementations count of the trace that it has written meanwhile."""
    results = run_simulated(PYTHON, tmp_path / "results", skip=5000000, trace=tmp_path / "trace", events=100000)
    assert results["ended_by"] == "events"
    fast, slow = both(tmp_path / "trace", tmp_path)
    assert counts_of(results) == counts_of(fast) == counts_of(slow)


def test_same_digits_twice(qemu, tmp_path):  # pylint: disable=unused-argument
    first = run_simulated(PYTHON, tmp_path / "first")
    assert first["ended_by"] == "exit" and first["insns"] > 10000000
    assert run_simulated(PYTHON, tmp_path / "second") == first


def test_limit_and_skip(qemu, tmp_path):  # pylint: disable=unused-argument
    results = run_simulated(PYTHON, tmp_path / "results", skip=1000000, limit=2000000)
    assert results["ended_by"] == "limit"
    assert abs(results["insns"] - 2000000) < 20000  # counted in batches


def test_segments_as_readelf_says(qemu, tmp_path):  # pylint: disable=unused-argument
    """Text is all executable pages of the largest segment, libraries that were loaded later are told apart."""
    script = "import sqlite3"
    results = run_simulated(("/usr/bin/python3", "-c", script), tmp_path / "results")
    kinds = {os.path.basename(each["path"]).split(".so")[0]: each["kind"] for each in results["objects"]}
    assert kinds["libc"] == "library" and kinds["libsqlite3"] == "later" and kinds["ld-linux-x86-64"] == "loader"
    assert results["objects"][0]["kind"] == "program"
    for each in results["objects"]:
        output = subprocess.run(["readelf", "-lW", each["path"]], capture_output=True, text=True, check=True).stdout
        segments = [(int(address, 16), int(size, 16)) for address, size in
                    re.findall(r"LOAD +0x\w+ 0x(\w+) 0x\w+ 0x(\w+) 0x\w+ R E", output)]
        assert each["text"] == max(-(-(at + size) // PAGE) * PAGE - at // PAGE * PAGE for at, size in segments)


def compiler():
    path = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
    if not shutil.which(path):
        pytest.skip("gcc's cc1 is not there")
    return path


@pytest.mark.parametrize("backing, layout", (("file", "hugexec file"), ("thp", "TiExec")))
def test_layouts_as_hugexec_makes_them(qemu, hugexec_command, tmp_path, backing, layout):  # pylint: disable=unused-argument
    """
    A program at a fixed address under hugexec has on huge pages, by smaps, what the layout says: with "file" the file's
    whole slots, with a copy the addresses' (those are TiExec's).
    """
    program = tmp_path / "cc1"
    shutil.copy(compiler(), program)
    os.sync()
    source = tmp_path / "source.c"
    source.write_text("int main(void) { return 0; }\n")
    command = (str(program), "-quiet", "-o", "/dev/null", str(source))
    results = run_simulated(command, tmp_path / "results")
    expected = results["objects"][0]["huge"][results["layouts"].index(layout)]
    words, report_path = hugexec_command(command, policy_with(), backing)
    subprocess.run(words, check=True)
    line = read_report(report_path)[0]
    if line["outcome"] != "remapped" and line["reason"].split(":")[0] in ("file-unsupported", "thp-unsupported"):
        pytest.skip(line["reason"])
    assert expected > 8 * MIB
    assert line["huge_bytes"] == expected, line
