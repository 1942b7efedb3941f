# SPDX-License-Identifier: Apache-2.0
"""
How much text of real programs is on huge pages, by smaps, beside what TiExec and iodlr would have there: whole slots of addresses,
computed from the same file. A program is looked at while it writes to a pipe that is full.
"""
import fcntl
import glob
import os
import re
import subprocess

import pytest

from lib.machine import HUGE, MIB
from lib.policies import policy_with
from lib.process import Process, run, wait_for
from lib.report import read_report
from lib.smaps import HUGE_COUNTS, smaps
from lib.surroundings import PROGRAMS

PAGE = 4096
UNPACKED = PROGRAMS / "root"


def cc1plus():
    return subprocess.run(["gcc", "-print-prog-name=cc1plus"], capture_output=True, text=True, check=True).stdout.strip()


def newest(pattern):
    return max(glob.glob(os.path.expanduser(pattern)), default="")


# Program, and arguments with which it says something after its libraries were loaded.
SAYS = {
    "postgres": (lambda: newest("/usr/lib/postgresql/*/bin/postgres"), "--version"),
    "mariadbd": (lambda: UNPACKED / "usr/sbin/mariadbd", "--version"),
    "node": (lambda: "/usr/bin/node", "--version"),
    "prometheus": (lambda: UNPACKED / "usr/bin/prometheus", "--version"),
    "etcd": (lambda: UNPACKED / "usr/bin/etcd", "--version"),
    "cc1plus": (cc1plus, "--help"),
}


def text_segments(path):
    """Address, offset and bytes, in whole pages, of what is executable; and the lowest address of all that is loaded."""
    loads = re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)\s+0x\w+\s+([RWE ]{3})", run(["readelf", "-lW", path]).stdout)
    parts = [(*(int(word, 16) for word in load[:3]), load[3]) for load in loads]
    text = [(address // PAGE * PAGE, offset // PAGE * PAGE, -(-(address + size) // PAGE) * PAGE - address // PAGE * PAGE)
            for offset, address, size, flags in parts if "E" in flags]
    return text, parts[0][1] // PAGE * PAGE


def whole_slots_of_addresses(path):
    """
    What TiExec (program headers) and iodlr (section .text) have of the program on huge pages: least and most, as the load
    address of a position-independent program has it.
    """
    text, _ = text_segments(path)
    fixed = "EXEC" in run(["readelf", "-hW", path]).stdout
    section = re.search(r" \.text +PROGBITS +(\w+) \w+ (\w+)", run(["readelf", "-SW", path]).stdout)
    address, size = int(section[1], 16), int(section[2], 16)

    def extremes(runs):
        inside = [sum(max(0, (start + bias + length) // HUGE - -(-(start + bias) // HUGE)) * HUGE for start, length in runs)
                  for bias in ([0] if fixed else range(0, HUGE, PAGE))]
        return min(inside), max(inside)
    return extremes([(start, length) for start, _, length in text]), extremes([(address, size)])


def huge_text(entries, path):
    """Bytes of the text of PATH, and how many of them are in slots that one entry maps, by smaps."""
    text, lowest = text_segments(path)
    real = os.path.realpath(path)
    mapped = [entry for entry in entries if entry["path"] == real]
    base = min(entry["start"] for entry in mapped) - lowest  # the lowest mapping begins with the file, or in the slot before it
    if "EXEC" in run(["readelf", "-hW", path]).stdout:
        base = 0
    parts = [(base + address, base + address + size) for address, _, size in text]
    covered = 0
    for entry in entries:
        huge = sum(entry.get(count, 0) for count in HUGE_COUNTS)
        first, end = -(-entry["start"] // HUGE) * HUGE, entry["end"] // HUGE * HUGE
        inside = sum(max(0, min(end, high) - max(first, low)) for low, high in parts)
        if "x" in entry["perms"] and inside and huge:
            covered += max(0, inside - (end - first - huge))
    return sum(size for _, _, size in text), covered


def full_pipe():
    """A pipe that takes no byte more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x")
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


def look(hugexec_command, command, policy, backing):
    """The report's line and smaps of COMMAND when it wants to say something."""
    reading, writing = full_pipe()
    environment = {**os.environ, "LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/x86_64-linux-gnu")} if str(UNPACKED) in command[0] else None
    words, report = hugexec_command(command, policy, backing)
    try:
        with Process(words, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=environment) as process:
            wait_for(lambda: read_report(report) and open(f"/proc/{process.pid}/syscall", encoding="ascii").read().split()[0] in
                       ("1", "20"), process=process)  # write(2), writev(2)
            entries = smaps(process.pid)
            process.kill()
    finally:
        os.close(reading)
        os.close(writing)
    return read_report(report)[0], entries


def program(name):
    path, *arguments = SAYS[name]
    path = str(path())
    if not os.access(path, os.X_OK):
        pytest.skip(f"{name} is not there (tests/get-programs fetches it from Debian)")
    run(["sync", path])
    return [path, *arguments]


def share(part, whole):
    return f"{part / MIB:.1f} of {whole / MIB:.1f} MiB ({100 * part // whole} %)"


@pytest.mark.parametrize("name", SAYS)
def test_in_place(hugexec_command, name):
    """All text of what GNU ld has linked, for no memory of its own; never less than copies of whole slots would give."""
    command = program(name)
    line, entries = look(hugexec_command, command, policy_with(round_out=True), "file")
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    all_text, huge = huge_text(entries, command[0])
    tiexec, iodlr = whole_slots_of_addresses(command[0])
    print(f"{name}: {share(huge, all_text)} in place; TiExec {share(tiexec[0], all_text)} to {share(tiexec[1], all_text)}, "
          f"iodlr {share(iodlr[0], all_text)} to {share(iodlr[1], all_text)}")
    assert huge == all_text
    assert huge >= max(tiexec[1], iodlr[1])
    assert line["backing"] == "file" and not any(entry["path"].startswith("/memfd:") for entry in entries)
    assert not any("w" in entry["perms"] and "x" in entry["perms"] for entry in entries if os.path.realpath(command[0]) == entry["path"])


@pytest.mark.parametrize("name", ["cc1plus", "etcd"])
def test_whole_slots_alone(hugexec_command, name):
    """Without round_out the ends stay small: what the test above sees is its doing."""
    command = program(name)
    line, entries = look(hugexec_command, command, policy_with(), "file")
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    all_text, huge = huge_text(entries, command[0])
    assert huge == line["huge_bytes"] == whole_slots_of_addresses(command[0])[0][0] < all_text
