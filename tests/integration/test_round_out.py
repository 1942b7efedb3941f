# SPDX-License-Identifier: Apache-2.0
"""round_out: head and tail of the text too, over the object's own read-only memory and no more; every byte is the file's."""
import pathlib
import re
import shutil
import subprocess

import pytest

from lib.machine import HUGE, pool_for
from lib.policies import policy_with
from lib.process import Process, run
from lib.programs import GENERATED, one_builder
from lib.report import read_report
from lib.smaps import smaps
from lib.surroundings import ROOT
from programs import bigtext as bigtext_generator

MAIN = ROOT / "tests" / "programs" / "bigtext.c"
# Read-only memory of several slots beside the text: GNU ld puts constants behind it and notes before it, lld constants
# before it with a hole of a page between, so that nothing can be covered there.
DATA = '\t.section {section}\n\t.balign 4096\n\t.rept 0x500000 / 8\n\t.quad 0x1122334455667788\n\t.endr\n'
WRITABLE = DATA.format(section=".data")
BEHIND, BEFORE = DATA.format(section=".rodata"), DATA.format(section='.note.pad,"a",@note')
VARIANTS = {"data behind": (["cc"], BEHIND, "behind"), "data before": (["cc"], BEFORE, "before"),
            "both": (["cc"], BEHIND + BEFORE, "before behind"),
            "a hole before": (["clang", "-fuse-ld=lld"], BEHIND, ""), "fixed address": (["cc", "-no-pie"], BEHIND, "behind"),
            "static PIE": (["cc", "-static-pie"], BEHIND, "behind"),
            "writable data behind": (["cc", "-Wl,-z,noseparate-code,-z,norelro"], WRITABLE, ""),
            "headers in the text": (["cc", "-Wl,-z,noseparate-code"], BEHIND, "")}


@pytest.fixture(scope="module", params=VARIANTS)
def program(request):
    compiler, data, ends = VARIANTS[request.param]
    if not shutil.which(compiler[0]) or ("-fuse-ld=lld" in compiler and not shutil.which("ld.lld")):
        pytest.skip(f"{' '.join(compiler)} is not installed")
    path, text = GENERATED / f"round-out-{request.param.replace(' ', '-')}", GENERATED / "round-out.s"
    with one_builder():
        if not path.exists() or path.stat().st_mtime < pathlib.Path(__file__).stat().st_mtime:
            text.write_text(bigtext_generator.assembly(5) + data)
            subprocess.run([*compiler, "-O1", "-o", path, MAIN, text], check=True)
    return str(path), ends


def segments(path):
    """(offset, address, bytes, flags) of what is loaded."""
    told = run(["readelf", "-lW", path]).stdout
    return [(int(offset, 16), int(address, 16), int(size, 16), flags.replace(" ", "")) for offset, address, size, flags in
            re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)\s+0x\w+\s+([RWE ]{3})", told)]


def extent(path):
    """Start and end of the text, and of the read-only memory that it is in the middle of, in whole pages."""
    parts = [(address // 4096 * 4096, -(-(address + size) // 4096) * 4096, flags) for _, address, size, flags in segments(path)]
    at = next(index for index, part in enumerate(parts) if "E" in part[2])
    first = last = at
    while first > 0 and parts[first - 1][1] == parts[first][0] and "W" not in parts[first - 1][2]:
        first -= 1
    while last + 1 < len(parts) and parts[last + 1][0] == parts[last][1] and "W" not in parts[last + 1][2]:
        last += 1
    return parts[at][0], parts[at][1], parts[first][0], parts[last][1]


def check_bytes(pid, path):
    """All that is read-only and loaded is what the file says, to the last byte of its last page."""
    auxv = pathlib.Path(f"/proc/{pid}/auxv").read_bytes()
    headers = next(int.from_bytes(auxv[i + 8:i + 16], "little") for i in range(0, len(auxv), 16) if auxv[i] == 3)
    file = pathlib.Path(path).read_bytes()
    bias = headers - 64 - next(address - offset for offset, address, _, _ in segments(path) if offset == 0)
    checked = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for offset, address, size, flags in segments(path):
            if "W" in flags:
                continue
            memory.seek(bias + address // 4096 * 4096)
            begin, end = offset // 4096 * 4096, min(-(-(offset + size) // 4096) * 4096, len(file))
            assert memory.read(end - begin) == file[begin:end]
            checked += end - begin
    assert checked > 5 << 20
    return bias


@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_every_byte(hugexec_command, program, backing):
    path, ends = program
    with pool_for(backing, 32):
        words, report = hugexec_command([path, "sleep"], policy_with(round_out=True), backing)
        with Process(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline().startswith("bigtext:") and process.stdout.readline() == "ready\n"
                line = read_report(report)[0]
                bias = check_bytes(process.pid, path)
                entries = smaps(process.pid)
            finally:
                process.kill()
    copies = [entry for entry in entries if entry["path"].startswith("/memfd:")]
    assert line["outcome"] == "remapped" and sum(entry["end"] - entry["start"] for entry in copies) == line["huge_bytes"]
    assert all(entry["perms"] == "r-xp" and entry["start"] % HUGE == entry["end"] % HUGE == 0 for entry in copies)
    start, end, lowest, highest = (bias + address for address in extent(path))
    assert ("before" in ends, "behind" in ends) == (lowest < start - HUGE, highest > end + HUGE)
    first, last = start // HUGE * HUGE, -(-end // HUGE) * HUGE
    first, last = first if first >= lowest else first + HUGE, last if last <= highest else last - HUGE
    assert (min(entry["start"] for entry in copies), max(entry["end"] for entry in copies)) == (first, last), line
    assert line["huge_bytes"] == last - first
    assert any("w" in entry["perms"] and entry["path"] == path for entry in entries)


def run_in_place(hugexec_command, path, **settings):
    """The report's line, the load bias and smaps of the program on its file's own huge pages; all its bytes are the file's."""
    run(["sync", path])
    words, report = hugexec_command([path, "sleep"], policy_with(**settings), "file")
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("bigtext:") and process.stdout.readline() == "ready\n"
            line = read_report(report)[0]
            bias = check_bytes(process.pid, path)
            return line, bias, smaps(process.pid)
        finally:
            process.kill()


def expected_in_place(path, bias):
    """
    Start and end of the slots that hold text and otherwise nothing that is loaded but read-only segments in step with it. Holes
    are between segments only.
    """
    parts = [(bias + address // 4096 * 4096, bias - (-(address + size) // 4096) * 4096, offset - address, flags)
             for offset, address, size, flags in segments(path)]
    start, end, step, _ = next(part for part in parts if "E" in part[3])
    lowest, highest, size = parts[0][0], parts[-1][1], pathlib.Path(path).stat().st_size

    def fits(slot):
        beside = [part for part in parts if part[0] < slot + HUGE and part[1] > slot]
        offset = slot - bias + step
        return (lowest <= slot and slot + HUGE <= highest and 0 <= offset <= size - HUGE and
                all("W" not in part[3] and part[2] == step for part in beside))
    slots = [slot for slot in range(start // HUGE * HUGE, end, HUGE) if fits(slot)]
    return slots[0], slots[-1] + HUGE


def test_in_place(hugexec_command, program):
    """The slots at the ends are the file's own huge pages, where all else in them is its read-only memory."""
    path, ends = program
    line, bias, entries = run_in_place(hugexec_command, path, round_out=True)
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    text = [entry for entry in entries if "x" in entry["perms"] and entry["path"] == path]
    assert not any(entry["path"].startswith("/memfd:") for entry in entries)
    assert not any("w" in entry["perms"] and "x" in entry["perms"] for entry in entries)
    first, last = expected_in_place(path, bias)
    assert line["huge_bytes"] == sum(entry["FilePmdMapped"] for entry in text) == last - first, line
    assert min(entry["start"] for entry in text) <= first and max(entry["end"] for entry in text) >= last
    assert line["backing"] == "file" and line["reason"] is None
    start, end = (bias + address for address in extent(path)[:2])
    if "behind" in ends:
        assert last >= end > last - HUGE
    if ends == "before behind":
        assert first <= start < first + HUGE and line["huge_bytes"] > line["text_bytes"]


def test_in_place_only_if_allowed(hugexec_command, program):
    """Without round_out nothing becomes executable that was not."""
    path, _ = program
    line, bias, entries = run_in_place(hugexec_command, path)
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    start, end = (bias + address for address in extent(path)[:2])
    text = [entry for entry in entries if "x" in entry["perms"] and entry["path"] == path]
    assert (min(entry["start"] for entry in text), max(entry["end"] for entry in text)) == (start, end)
    assert line["huge_bytes"] == end // HUGE * HUGE - -(-start // HUGE) * HUGE
