# SPDX-License-Identifier: Apache-2.0
"""Programs whose code is in libraries, or has large ones beside it: all whole slots on huge pages by each backing, breakpoints or not."""
import glob
import os
import pathlib
import re
import subprocess
import time

import pytest

from lib.filters import SURROUNDINGS
from lib.machine import HUGE, pool_for
from lib.policies import policy_with
from lib.process import Process, children_of, run, status_of, wait_for
from lib.programs import C_SOURCE, needed
from lib.report import read_report
from lib.servers import SERVERS
from lib.smaps import huge_text_bytes, smaps

LEAST = HUGE  # min_text


def rustc():
    """The compiler itself, and not rustup's proxy."""
    found = glob.glob(os.path.expanduser("~/.rustup/toolchains/*/bin/rustc"))
    return sorted(found)[0] if found else needed("/usr/bin/rustc")


# Command, what it reads (it waits for that when it is looked at), MiB for which the pool has to do, and how many of its libraries are large.
PROGRAMS = {
    "clang": (lambda: [needed("/usr/bin/clang"), "-x", "c", "-S", "-o", "-", "-"], C_SOURCE, 200, 2),
    "rustc": (lambda: [rustc(), "--crate-type=lib", "--emit=metadata", "-"], "pub fn square(n: u32) -> u32 { n * n }\n", 200, 1),
    "node": (lambda: [needed("/usr/bin/node"), "-e", "console.log(require('fs').readFileSync(0, 'utf8').length)"], "some text", 100, 0),
}


def text_of(path):
    """Offset, address and bytes of each executable segment of a file."""
    told = run(["readelf", "-lW", path]).stdout
    found = re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)\s+0x\w+\s+R E", told)
    return [tuple(int(word, 16) for word in words) for words in found]


def whole_slots(start, size):
    start, end = start // 4096 * 4096, -(-(start + size) // 4096) * 4096
    return max(0, end // HUGE - -(-start // HUGE)) * HUGE


def check(pid, line, backing):
    """What the report and the kernel say of all large libraries of PID, which has come to rest."""
    told = {os.path.realpath(item["path"]): item for item in line["objects"]}
    entries = smaps(pid)
    large = 0
    for path in sorted({entry["path"] for entry in entries if ".so" in entry["path"] and entry["path"].startswith("/")}):
        text = text_of(path)
        # What agrees with the beginning of the library, which is aligned. (rustc's have text that does not.)
        in_file = sum(whole_slots(offset, size) for offset, address, size in text if (address - offset) % HUGE == 0)
        if sum(size for _, _, size in text) < LEAST or not in_file:
            continue
        large += 1
        item = told.get(path)
        assert item, (path, line)
        if backing == "file" and (item["reason"] or "").startswith("file-busy"):
            pytest.skip(f"somebody else uses {path}")
        if backing == "file" and any((address - offset) % HUGE for offset, address, _ in text):
            assert item["reason"] is None or item["reason"].startswith("file-misaligned"), item
        else:
            assert item["reason"] is None, item
        assert item["backing"] == backing, item
        if item["prepared_bytes"]:  # by the kernel, where it is used
            mapped = [entry for entry in entries if entry["path"] == path and "x" in entry["perms"]]
            huge = sum(entry["FilePmdMapped"] for entry in mapped)
            assert item["prepared_bytes"] == in_file, item
            assert sum(entry["Rss"] for entry in mapped) - huge <= sum(size for _, _, size in text) - in_file + 8192 * len(text), mapped
        else:
            base = int(item["start"], 16) - text[0][1] // 4096 * 4096
            assert item["huge_bytes"] == huge_text_bytes(pid, int(item["start"], 16), int(item["end"], 16)), item
            assert item["huge_bytes"] == sum(whole_slots(base + address, size) for _, address, size in text), item
    assert status_of(pid)["TracerPid"] == "0" and children_of(pid) == []
    return large


def has_report(pid, path):
    """Whether PID, which has come to its own code by now, is reported; nobody traces it any more."""
    assert status_of(pid)["TracerPid"] == "0"
    return read_report(path)


def is_reading(pid):
    """Its standard input: read(0, ...)."""
    return pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[:2] == ["0", "0x0"]


def start(process, command, is_at_rest):
    """
    Wait until PROCESS, which becomes COMMAND, has come to rest. Returns for how many seconds after its exec it was traced, and
    when it was at rest.
    """
    exe, executed, traced = os.path.realpath(command[0]), None, None

    def has_started():
        nonlocal executed, traced
        now = time.monotonic()
        if executed is None and os.path.realpath(os.readlink(f"/proc/{process.pid}/exe")) == exe:
            executed = now
        if executed is not None and status_of(process.pid)["TracerPid"] != "0":
            traced = time.monotonic()
        return is_at_rest()

    wait_for(has_started, process=process)
    return traced - executed if traced else 0, time.monotonic() - executed


def check_time(traced, plain, line):
    """It was TRACED for no longer than a second; on a machine that is slower, than it was held for and starts by itself (PLAIN) in."""
    assert traced < max(1, 3 * (plain + line["latency_us"] / 1e6)), (traced, plain, line["latency_us"])


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_compilers_and_node(hugexec_command, name, backing, surroundings, tmp_path):
    make_command, text, mib, large = PROGRAMS[name]
    command = make_command()
    with Process(command, cwd=tmp_path, **PIPES) as process:  # rustc leaves a file there
        _, plain_s = start(process, command, lambda: is_reading(process.pid))
        plain = (*process.communicate(text, timeout=120), process.returncode)
    words, report = hugexec_command(command, policy_with(libraries=True, min_text=LEAST, follow="none"), backing)
    with pool_for(backing, mib):
        with Process(words, preexec_fn=SURROUNDINGS[surroundings], cwd=tmp_path, **PIPES) as process:
            traced_s, _ = start(process, command, lambda: is_reading(process.pid) and has_report(process.pid, report))
            [line] = read_report(report)
            check_time(traced_s, plain_s, line)
            assert check(process.pid, line, backing) >= large
            out, err = process.communicate(text, timeout=120)
    assert (out, err, process.returncode) == plain and plain[2] == 0


def test_clang_on_overlayfs(hugexec_command, tmp_path):
    """As in a container: in place, too."""
    command, text, *_ = PROGRAMS["clang"]
    words, report = hugexec_command(command(), policy_with(libraries=True, min_text=LEAST, follow="none"), "file")
    mount = f"mkdir up work && mount -t overlay -o lowerdir=/usr,upperdir={tmp_path}/up,workdir={tmp_path}/work none /usr"
    if os.geteuid() != 0 or run(["unshare", "--mount", "sh", "-c", mount], cwd=tmp_path).returncode != 0:
        pytest.skip("no overlay can be mounted here")
    with Process(["unshare", "--mount", "sh", "-c", f'{mount.removeprefix("mkdir up work && ")} && exec "$@"', "sh", *words], **PIPES) as process:
        wait_for(lambda: is_reading(process.pid) and has_report(process.pid, report), process=process)
        assert check(process.pid, read_report(report)[0], "file") >= 2
        out, err = process.communicate(text, timeout=120)
    assert (out, err, process.returncode) == (run(command(), input=text, stdin=None).stdout, "", 0)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_mariadbd(hugexec_command, tmp_path, backing, surroundings):
    command, is_ready = SERVERS["mariadbd"](tmp_path)
    words, report = hugexec_command(command, policy_with(libraries=True, min_text=LEAST, follow="none"), backing)
    took = {}
    with pool_for(backing, 64):
        for name, started_as in (("ours", words), ("plain", command)):
            with Process(started_as, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         preexec_fn=SURROUNDINGS[surroundings]) as process:
                took[name] = start(process, command, is_ready)
                if name == "ours":
                    check(process.pid, read_report(report)[0], backing)
                process.terminate()
                process.wait(60)
    check_time(took["ours"][0], took["plain"][1], read_report(report)[0])
