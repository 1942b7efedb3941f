# SPDX-License-Identifier: Apache-2.0
"""How much of a real program's text is on huge pages, by smaps, and how much copies of whole slots of addresses would have there."""
import fcntl
import glob
import json
import os
import re
import subprocess

import pytest

from lib.machine import HUGE, MIB
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


# Compilers that are mostly libraries: what gold has linked has relocation data right behind its text; BOLT leaves the text that it has
# found cold out of step with its file.
IN_LIBRARIES = {
    "clang": (lambda: "/usr/bin/clang", "--version"),
    "rustc": (lambda: newest("~/.rustup/toolchains/*/bin/rustc"), "-vV"),
}


def segments(path):
    """(offset, address, bytes, flags) of what is loaded."""
    loads = re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)\s+0x\w+\s+([RWE ]{3})", run(["readelf", "-lW", path]).stdout)
    return [(*(int(word, 16) for word in load[:3]), load[3]) for load in loads]


def text_segments(path):
    """Address and bytes, in whole pages, of what is executable."""
    return [(address // PAGE * PAGE, -(-(address + size) // PAGE) * PAGE - address // PAGE * PAGE)
            for _, address, size, flags in segments(path) if "E" in flags]


def whole_slots_of_addresses(path):
    """
    What TiExec (program headers) and iodlr (section .text) have of the program on huge pages: least and most, as the load
    address of a position-independent program has it.
    """
    fixed = "EXEC" in run(["readelf", "-hW", path]).stdout

    def extremes(runs):
        inside = [whole_slots(runs, bias) for bias in ([0] if fixed else range(0, HUGE, PAGE))]
        return min(inside), max(inside)
    return extremes(text_segments(path)), extremes([text_section(path)])


def text_section(path):
    """Address and bytes of .text, which iodlr goes by."""
    section = re.search(r" \.text +PROGBITS +(\w+) \w+ (\w+)", run(["readelf", "-SW", path]).stdout)
    return int(section[1], 16), int(section[2], 16)


def whole_slots(runs, bias):
    return sum(max(0, (start + bias + length) // HUGE - -(-(start + bias) // HUGE)) * HUGE for start, length in runs)


def load_bias(entries, path):
    """
    By the last mapping of a part of the file that is loaded: what was copied is the file's no more, but its data is. ld.so keeps what lies
    between two parts mapped, without rights.
    """
    return [entry["start"] - entry["offset"] + (offset - address) for entry in entries
            if entry["path"] == os.path.realpath(path) and entry["perms"] != "---p"
            for offset, address, size, _ in segments(path) if offset // PAGE * PAGE <= entry["offset"] < offset + size][-1]


def huge_text(entries, path):
    """Bytes of the text of PATH, and how many of them are in slots that one entry maps, by smaps."""
    bias = load_bias(entries, path)
    parts = [(bias + address, bias + address + size) for address, size in text_segments(path)]
    covered = 0
    for entry in entries:
        huge = sum(entry.get(count, 0) for count in HUGE_COUNTS)
        first, end = -(-entry["start"] // HUGE) * HUGE, entry["end"] // HUGE * HUGE
        inside = sum(max(0, min(end, high) - max(first, low)) for low, high in parts)
        if "x" in entry["perms"] and inside and huge:
            covered += max(0, inside - (end - first - huge))
    return sum(high - low for low, high in parts), covered


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


def program(name, says=SAYS):
    path, *arguments = says[name]
    path = str(path())
    if not os.access(path, os.X_OK):
        pytest.skip(f"{name} is not there (tests/get-programs fetches it from Debian)")
    run(["sync", path])
    return [path, *arguments]


def share(part, whole):
    return f"{part / MIB:.1f} of {whole / MIB:.1f} MiB ({100 * part // whole} %)"


def huge_text_bytes_of(entry):
    return sum(entry[count] for count in HUGE_COUNTS)


def explained(hugexecctl, policy, backing, command):
    said = json.loads(run([hugexecctl, "explain", "--json", f"--policy={policy}", f"--backing={backing}", command]).stdout)
    return {**said, "libraries": {os.path.realpath(each["path"]): each for each in said["libraries"]}}
