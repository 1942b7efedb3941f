"""round_out: head and tail of the text too, over the object's own read-only memory and no more; every byte is the file's."""
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import GENERATED, HUGE, ROOT, Process, bigtext_generator, policy_with, read_report, run, smaps
from test_programs import pool_for

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
    GENERATED.mkdir(parents=True, exist_ok=True)
    path, text = GENERATED / f"round-out-{request.param.replace(' ', '-')}", GENERATED / "round-out.s"
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


def test_file_keeps_to_whole_slots(hugexec_command, program):
    """In place what is outside of whole slots stays on the file's small pages."""
    path, _ = program
    run(["sync", path])
    words, report = hugexec_command([path, "sleep"], policy_with(round_out=True), "file")
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("bigtext:") and process.stdout.readline() == "ready\n"
            line = read_report(report)[0]
            check_bytes(process.pid, path)
            mapped = {entry["path"] for entry in smaps(process.pid) if "x" in entry["perms"]}
        finally:
            process.kill()
    assert path in mapped and not any(name.startswith("/memfd:") for name in mapped)
    assert line["outcome"] == "remapped" or line["reason"].startswith("file-misaligned"), line
    assert line["huge_bytes"] <= line["text_bytes"]
