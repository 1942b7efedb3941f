# SPDX-License-Identifier: Apache-2.0
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

from lib.policies import policy_with
from lib.report import read_report
from lib.surroundings import BUILD, ROOT

sys.path.insert(0, str(ROOT / "tests" / "bench" / "itlb"))
import report
import simulate

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


def made_objects(chance, movable):
    """A program and libraries of each kind, at addresses that no linker would choose; as lines of a trace, and their code."""
    lines, codes = [], []
    for number, kind in enumerate((0, 1, 1, 2, 3)):
        offset = chance.randrange(600) * PAGE
        length = chance.choice((300, 700, 2000, 5000)) * PAGE
        distance = chance.choice((0, 0x154)) * PAGE + 0x10000000 * (number + 1)
        fixed = int(not movable)
        if kind == 0:
            length, distance = 5000 * PAGE, 0x10154000
        before = chance.randrange(4) * PAGE
        section = offset + chance.randrange(300) * 77
        numbers = (number, kind, fixed, offset, length + before, offset + before, length,
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
    lines, codes = made_objects(chance, seed % 2 == 0)
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


def run_simulated(command, out, guest=simulate.X86_64, **arguments):
    subprocess.run(simulate.command_for(PLUGIN, command, guest, out=out, **arguments), env=simulate.environment(),
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


def huge_bytes_under_hugexec(hugexec_command, command, backing, prefix=(), **settings):
    """What is on huge pages of COMMAND's program, by smaps."""
    words, report_path = hugexec_command(command, policy_with(**settings), backing)
    subprocess.run([*prefix, *words], check=True, stdout=subprocess.DEVNULL)
    line = read_report(report_path)[0]
    if line["outcome"] != "remapped" and line["reason"].split(":")[0] in ("file-unsupported", "thp-unsupported"):
        pytest.skip(line["reason"])
    return line["huge_bytes"]


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
    assert expected > 8 * MIB
    assert huge_bytes_under_hugexec(hugexec_command, command, backing) == expected


@pytest.mark.parametrize("backing, layout", (("file", "hugexec file"), ("thp", "TiExec")))
def test_layouts_of_a_position_independent_program(qemu, hugexec_command, bigtext, tmp_path,  # pylint: disable=unused-argument
                                                   backing, layout):
    """The same of a program that is moved for "file", and of one that is where Linux puts it without randomization for a copy."""
    command = (str(bigtext(9)), "1")
    results = run_simulated(command, tmp_path / "results")
    expected = results["objects"][0]["huge"][results["layouts"].index(layout)]
    assert expected >= 6 * MIB
    prefix = () if backing == "file" else ("setarch", "-R")
    assert huge_bytes_under_hugexec(hugexec_command, command, backing, prefix) == expected


def test_layouts_of_libraries(qemu, hugexec_command, tmp_path):  # pylint: disable=unused-argument
    """What hugexec prepares of clang's libraries is what the layout says of them."""
    if not shutil.which("/usr/bin/clang"):
        pytest.skip("clang is not there")
    source = tmp_path / "source.c"
    source.write_text("int main(void) { return 0; }\n")
    command = ("/usr/bin/clang", "-S", "-o", "/dev/null", str(source))
    results = run_simulated(command, tmp_path / "results")
    layout = results["layouts"].index("hugexec file")
    expected = {os.path.realpath(each["path"]): each["huge"][layout] for each in results["objects"]}
    words, report_path = hugexec_command(command, policy_with(libraries=True, min_text="2M"), "file")
    subprocess.run(words, check=True)
    prepared = {os.path.realpath(each["path"]): each["prepared_bytes"] for each in read_report(report_path)[0]["objects"]
                if each.get("prepared_bytes")}
    if not prepared:
        pytest.skip("hugexec could not prepare clang's libraries here: " + str(read_report(report_path)[0]["reason"]))
    assert max(prepared.values()) > 8 * MIB
    assert prepared == {path: expected[path] for path in prepared}


CROSSING = """
	.text
	.globl _start
	.balign 4096
_start:	mov $1000, %ecx
	jmp again
	.org _start + 4096 - 4
again:	dec %ecx
	.byte 0x0f, 0x85	# jnz again, the offset of which is in the next page
	.long again - . - 4
	mov $60, %eax
	xor %edi, %edi
	syscall
"""


def test_instruction_in_two_pages(qemu, tmp_path):  # pylint: disable=unused-argument
    """A jump across the end of a page fetches from both each time: the first page once, then 1,000 times the second, 999 the first."""
    (tmp_path / "crossing.s").write_text(CROSSING)
    program = str(tmp_path / "crossing")
    subprocess.run(["gcc", "-nostdlib", "-static", "-o", program, tmp_path / "crossing.s"], check=True)
    results = run_simulated((program,), tmp_path / "results")
    assert results["fetches"] == 2000
    assert results["accesses"] == 0
    assert results["insns"] == 2 + (2 + 1) * 1000 + 3  # QEMU lists such an instruction twice
    for misses, walks in counts_of(results).values():
        assert misses[0] in (1, 2) and walks[0] == misses[0]  # one entry if neighbours are coalesced


# Text of 3 MiB; 8 MiB of read-only data in slots of its own, each page of which is read, three times.
RODATA = """
	.text
	.globl _start
_start:	mov $3, %ebx
round:	mov $data, %rsi
	mov $2048, %ecx
page:	movb (%rsi), %al
	add $4096, %rsi
	dec %ecx
	jnz page
	dec %ebx
	jnz round
	mov $60, %eax
	xor %edi, %edi
	syscall
	.fill 3 << 20, 1, 0x90
	.section .rodata
	.balign 2 << 20
data:	.fill 8 << 20, 1, 7
"""


def test_data(qemu, tmp_path):  # pylint: disable=unused-argument
    """bench-rodata's part of the plugin: what a program reads, its addresses and its file's segments give what can be computed by hand."""
    (tmp_path / "rodata.s").write_text(RODATA)
    program = str(tmp_path / "rodata")
    subprocess.run(["gcc", "-nostdlib", "-static", "-Wl,-z,max-page-size=2097152", "-o", program, tmp_path / "rodata.s"], check=True)
    results = run_simulated((program,), tmp_path / "results", data=1)
    assert results["layouts"] == ["plain", "ends", "rodata"]
    assert results["accesses"] == 3 * 2048
    found = {each["name"]: each for each in results["processors"]}
    for each in found.values():
        assert each["misses"] == [3 * 2048, 3 * 2048, 4]
    assert found["Zen 4"]["walks"] == [2048, 2048, 4]  # its second level holds all pages
    assert found["Neoverse N1"]["walks"] == [3 * 2048, 3 * 2048, 4]


ARM64 = """
	.text
	.globl _start
	.balign 4096
_start:	mov x1, #1000
again:	sub x1, x1, #1
	b next
	.balign 4096
next:	cbnz x1, again
	mov x8, #93
	mov x0, #0
	svc #0
"""


def test_arm64(tmp_path):
    """A program for arm64: each turn of its loop fetches from two pages."""
    guest = simulate.Guest("qemu-aarch64", "neoverse-n1", "aarch64-linux-gnu")
    if not shutil.which(guest.qemu) or not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip("qemu-aarch64 or the cross compiler is not there (tests/deps arm64 installs them)")
    (tmp_path / "arm64.s").write_text(ARM64)
    program = str(tmp_path / "arm64")
    subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-o", program, tmp_path / "arm64.s"], check=True)
    results = run_simulated((program,), tmp_path / "results", guest)
    assert results["insns"] == 1 + 3 * 1000 + 3
    assert results["fetches"] == 2000
    assert results["objects"][0]["insns"] == results["insns"] and results["objects"][0]["kind"] == "program"


def made_results(**changes):
    """Of one program that executed a million instructions."""
    processor = {"coalesce": 0, "second_has_data": False, "fetch_small": [64, 64], "fetch_huge": [0, 0], "second": [512, 8]}
    return {"name": "it", "what": "runs", "exact": True, "insns": 1000000, "threads": 1, "anonymous_insns": 250000,
            "layouts": ["plain", "iodlr", "hugexec file", "hugexec full"], "huge_insns": [0, 500000, 600000, 750000],
            "objects": [{"path": "/bin/it", "insns": 750000, "text": 3 << 20, "pages": 40}],
            "processors": [{**processor, "name": "A", "misses": [2000, 1000, 500, 20], "walks": [100, 50, 10, 0]},
                           {**processor, "name": "B", "misses": [4000, 1000, 2000, 1500], "walks": [100, 0, 2, 1]},
                           {**processor, "name": report.BEST_CASE, "misses": [10, 10, 10, 10], "walks": [0, 0, 0, 0]}],
            **changes}


def test_report_of_rodata(tmp_path):
    """Its tables stand between the marks, and what stood there before does not."""
    path = tmp_path / "backings.md"
    path.write_text("before\n<!-- made by make bench-rodata -->\nold\n<!-- end of what make bench-rodata makes -->\nafter\n")
    processors = [{"name": "A", "misses": [2000, 1000, 500], "walks": [100, 50, 12]}, {"name": "B", "misses": [4000, 4000, 40], "walks": [9, 8, 7]}]
    report.write_rodata(path, [{"name": "it", "insns": 1000000, "processors": processors}, {"name": "other", "reason": "it is not there"}], 1000000)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| first-level misses per 1,000 instructions | A: plain, ends, `rodata` | B |" in text
    assert "| it | 2.00, 1.00, 0.50 | 4.00, 4.00, 0.04 |" in text and "| it | 100, 50, 12 | 9, 8, 7 |" in text
    assert "Not looked at: other: it is not there." in text


def test_report():
    """Rates, ratios and medians computed by hand; a peer that is better is named; a program that did not run is, too."""
    text = report.generated([made_results(), {"name": "other", "reason": "it is not there"}], 1000000)
    # Misses per 1,000: A 2, 1, 0.5, 0.02; B 4, 1, 2, 1.5. Ratios: A 0.5, 0.25, 0.01; B 0.25, 0.5, 0.375. The best case is left out.
    assert "| it | 2.000 to 4.000 | 0.375 | 0.375 | 0.193 |" in text
    assert "| it | 100.0 | 0.250 | 0.060 | 0.005 |" in text
    assert "| B | 4.000 | 1.000 (0.250) | 2.000 (0.500) | 1.500 (0.375) |" in text
    assert "| it | B | misses | 4.000 | 1.500 | iodlr 1.000 |" in text
    assert "| it | A |" not in text  # nobody is better there
    assert "| instructions from huge pages | 0% | 50% | 60% | 75% |" in text
    assert "- other: it is not there" in text
    assert "it 75% (3.0 MiB of text, 40 pages of it executed); code in no file (JIT) 25.0%" in text
