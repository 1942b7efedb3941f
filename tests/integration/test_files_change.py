# SPDX-License-Identifier: Apache-2.0
"""Files that change, are mounted otherwise, or come from a slow disk while hugexec uses them: nothing worse than plain exec."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from lib.cached_files import drop, read_small
from lib.machine import HUGE, MIB, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.report import read_report
from lib.smaps import smaps

BACKINGS = ("file", "thp")


def put(source, path):
    """A copy whose pages are on the disk; a new file, also where there is one already."""
    partial = f"{path}.new"
    shutil.copy(source, partial)
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.rename(partial, path)
    return pathlib.Path(path)


@contextlib.contextmanager
def sleeping(words, report):
    """The process at rest, what it printed first, and its report."""
    with Process(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            told = process.stdout.readline()
            assert process.stdout.readline() == "ready\n"
            yield process.pid, told, read_report(report)[0]
        finally:
            process.kill()


def text_of(pid, line):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        start, end = (int(line["objects"][0][name], 16) for name in ("start", "end"))
        memory.seek(start)
        return memory.read(end - start)


@pytest.mark.parametrize("state", ["cold", "small"])
@pytest.mark.parametrize("count", [2, 5])
def test_started_at_the_same_time(hugexec_command, bigtext, huge_ext4, state, count):
    """Each may find the pages in the other's hands; all of them run right, and whoever comes later finds huge pages."""
    program = put(bigtext(16), huge_ext4 / "together")
    plain = run([program])
    (read_small if state == "small" else drop)(program)
    commands = [hugexec_command([program], backing="file,thp") for _ in range(count)]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process(words, stdout=subprocess.PIPE, text=True)) for words, _ in commands]
        told = [process.communicate(timeout=60)[0] for process in processes]
    assert told == [plain.stdout] * count and [process.returncode for process in processes] == [0] * count
    for _, report in commands:
        line = read_report(report)[0]
        assert line["outcome"] == "remapped" and line["backing"] in ("file", "thp"), line
        assert line["backing"] == "file" or line["reason"].startswith("file-"), line
    words, report = hugexec_command([program], backing="file")
    assert run(words).stdout == plain.stdout
    assert read_report(report)[0]["outcome"] == "remapped", read_report(report)


@pytest.mark.parametrize("backing", BACKINGS)
def test_package_upgrade(hugexec_command, bigtext, huge_ext4, backing):
    """A new file under the old name: what runs keeps the old one's text to the last byte, what starts has the new one's."""
    old, new = bigtext(16), bigtext(8)
    program = put(old, huge_ext4 / "upgraded")
    words, report = hugexec_command([program, "sleep"], backing=backing)
    with sleeping(words, report) as (pid, told, line):
        assert told == run([old]).stdout and line["backing"] == backing
        before = text_of(pid, line)
        put(new, program)
        words, report = hugexec_command([program, "sleep"], backing=backing)
        with sleeping(words, report) as (_, new_told, new_line):
            assert new_told == run([new]).stdout and new_told != told and new_line["backing"] == backing
            assert text_of(pid, line) == before
            assert os.readlink(f"/proc/{pid}/exe") == f"{program} (deleted)"
            paths = {entry["path"] for entry in smaps(pid) if "x" in entry["perms"]}
            assert f"{program} (deleted)" in paths
    text = pathlib.Path(old).read_bytes()
    assert before in text


@pytest.mark.parametrize("backing", BACKINGS)
def test_running_file_cannot_be_written(hugexec_command, bigtext, huge_ext4, backing):
    """ETXTBSY while it runs, as plain; and not a moment longer."""
    program = put(bigtext(8), huge_ext4 / "busy")
    words, report = hugexec_command([program, "sleep"], backing=backing)
    with sleeping(words, report) as (_, _, line):
        assert line["backing"] == backing
        with pytest.raises(OSError, match="Text file busy"):
            os.open(program, os.O_WRONLY)
        with pytest.raises(OSError, match="Text file busy"):
            os.truncate(program, 0)
    os.close(os.open(program, os.O_WRONLY))


@pytest.mark.parametrize("backing", BACKINGS)
def test_file_that_is_open_for_writing(hugexec_run, bigtext, huge_ext4, backing):
    """Started, or not, as plain; afterwards the writer writes on."""
    program = put(bigtext(8), huge_ext4 / "written")
    with open(program, "r+b", buffering=0) as file:
        try:
            plain = run([program, "exit", "3"]).returncode
        except OSError as error:
            assert error.errno == 26  # ETXTBSY
            plain = 126
        done, report = hugexec_run([program, "exit", "3"], backing=backing)
        assert done.returncode == plain
        assert plain == 3 or (not report and "Text file busy" in done.stderr)
        assert file.write(b"\x7fELF") == 4
    done, report = hugexec_run([program, "exit", "3"], backing="file,thp")
    assert done.returncode == 3 and report[0]["outcome"] == "remapped"


def test_read_only_mount(hugexec_run, bigtext, huge_ext4):
    program = put(bigtext(8), huge_ext4 / "read-only")
    read_small(program)
    assert run(["mount", "-o", "remount,ro", huge_ext4]).returncode == 0
    try:
        done, report = hugexec_run([program], backing="file")
    finally:
        assert run(["mount", "-o", "remount,rw", huge_ext4]).returncode == 0
    assert done.returncode == 0 and report[0]["outcome"] == "remapped" and report[0]["backing"] == "file"


@pytest.mark.parametrize("backing", BACKINGS)
def test_mount_that_becomes_noexec(hugexec_command, hugexec_run, bigtext, huge_ext4, backing):
    """What runs runs on; what starts is refused as plain: 126."""
    program = put(bigtext(8), huge_ext4 / "noexec")
    words, report = hugexec_command([program, "sleep"], backing=backing)
    with sleeping(words, report) as (pid, _, line):
        before = text_of(pid, line)
        assert run(["mount", "-o", "remount,noexec", huge_ext4]).returncode == 0
        try:
            assert text_of(pid, line) == before
            plain = run(["env", program])
            done, later = hugexec_run([program], backing=backing)
        finally:
            assert run(["mount", "-o", "remount,exec", huge_ext4]).returncode == 0
    assert (done.returncode, plain.returncode) == (126, 126) and "Permission denied" in done.stderr
    assert not [each for each in later if each["outcome"] == "remapped"]


@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
@pytest.mark.parametrize("size", [4096, HUGE, 3 * HUGE + 5000])
def test_truncated_file(hugexec_run, bigtext, huge_ext4, backing, size):
    """Its headers promise more than there is: it starts or not, and ends, as plain."""
    program = put(bigtext(16), huge_ext4 / "truncated")
    os.truncate(program, size)
    run(["sync", program])
    plain = run(["env", program])
    assert plain.returncode != 0
    done, report = hugexec_run([program], backing=backing)
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
    assert plain.returncode in (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGKILL), plain
    if backing != "file":  # a copy of a part would be a text of zeros
        assert not [each for each in report if each["outcome"] == "remapped"]


def test_truncated_between_starts(hugexec_command, bigtext, huge_ext4):
    """Someone truncates and restores the file all the time: every start ends well, or as plain may."""
    source = pathlib.Path(bigtext(8)).read_bytes()
    program = put(bigtext(8), huge_ext4 / "restless")
    code = ("import os, sys\nwhole = open(sys.argv[1], 'rb').read()\nprint('ready', flush=True)\n"
            "while True:\n    try:\n        fd = os.open(sys.argv[2], os.O_RDWR)\n    except OSError:\n        continue\n"
            "    os.ftruncate(fd, 3 << 21)\n    os.pwrite(fd, whole[3 << 21:], 3 << 21)\n    os.close(fd)\n")
    endings = []
    with Process(["/usr/bin/python3", "-c", code, bigtext(8), program], stdout=subprocess.PIPE, text=True) as restless:
        try:
            assert restless.stdout.readline() == "ready\n"
            for _ in range(30):
                words, _ = hugexec_command([program], backing="file,thp")
                endings.append(run(words).returncode)
        finally:
            restless.kill()
            restless.wait(10)
    # Refused while it is open for writing; killed where its end is missing; never "the text is wrong".
    assert set(endings) <= {0, 126, -signal.SIGBUS, -signal.SIGSEGV}, endings
    put(bigtext(8), program)
    assert run([program]).returncode == 0 and len(source) > 3 * HUGE


@contextlib.contextmanager
def slow_disk(folder, bytes_a_second):
    """A cgroup (v1 or v2) in which reading from the disk below FOLDER is slow; yields what puts the caller into it."""
    device = os.stat(folder).st_dev
    device = f"{os.major(device)}:{os.minor(device)}"
    roots = {"/sys/fs/cgroup/blkio": ("blkio.throttle.read_bps_device", f"{device} {bytes_a_second}"),
             "/sys/fs/cgroup": ("io.max", f"{device} rbps={bytes_a_second}")}
    for root, (name, limit) in roots.items():
        group = pathlib.Path(root) / f"hugexec-test-slow-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / name).exists():
                continue
            (group / name).write_text(limit)
            yield lambda group=group: (group / "cgroup.procs").write_text(str(os.getpid()))
            return
        finally:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.1)
    pytest.skip("no cgroup that could slow a disk")


def test_slow_disk(hugexec_command, bigtext, huge_ext4):
    """A cold file on a disk of 4 MiB a second: held for file_timeout and little more, then it runs; the reason is told."""
    program = put(bigtext(62), huge_ext4 / "slow")
    drop(program)
    policy = policy_with(file_timeout="400ms", min_text="2M", max_text="80M")
    words, report = hugexec_command([program, "idle"], policy, "file")
    with slow_disk(huge_ext4, 4 * MIB) as join:
        with Process(words, stdin=subprocess.DEVNULL, preexec_fn=join) as process:
            wait_for(lambda: read_report(report), seconds=60, process=None)
            assert process.wait(60) == 0
    line = read_report(report)[0]
    assert line["outcome"] == "failed" and line["reason"].startswith("file-timeout: "), line
    # 400 ms, a tenth of a second for a child that the disk does not let go of, and what a loaded machine adds: not the 15 s of all of it.
    assert 100_000 < line["latency_us"] < 8_000_000, line
    words, report = hugexec_command([program, "idle"], policy, "file,thp")
    assert run(words).returncode == 0 and read_report(report)[0]["outcome"] == "remapped"


@pytest.mark.parametrize("backing", ["thp", "hugetlb"])
def test_slow_disk_and_a_copy(hugexec_command, bigtext, huge_ext4, backing):
    """The same of a copy: held for hold_timeout, or what a copy of this size may take; nothing is left of it."""
    program = put(bigtext(16), huge_ext4 / "slow-copy")
    drop(program)
    policy = policy_with(file_timeout="100ms", hold_timeout="200ms", min_text="2M", max_text="80M")
    words, report = hugexec_command([program, "sleep"], policy, backing)
    with take_hugetlb_pool(12) if backing == "hugetlb" else contextlib.nullcontext(), slow_disk(huge_ext4, 4 * MIB) as join:
        with Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=join) as process:
            assert [process.stdout.readline() for _ in range(2)][1] == b"ready\n"
            assert status_of(process.pid)["TracerPid"] == "0"
            assert not any("memfd:" in entry["path"] for entry in smaps(process.pid))
            process.kill()
    line = read_report(report)[0]
    assert line["outcome"] == "failed" and line["reason"].startswith("hold-timeout: "), line
    assert line["latency_us"] > 250_000, line
    words, report = hugexec_command([program, "idle"], policy_with(), "thp")
    assert run(words).returncode == 0 and read_report(report)[0]["outcome"] == "remapped"
