# SPDX-License-Identifier: Apache-2.0
"""Huge folios in the page cache, on real filesystems: what becomes huge."""
import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import threading
import time

import pytest

from lib.cached_files import FILE_BYTES, KERNEL, SLOTS, cached, digest, drop, huge_bytes, image, make_file, read_small, whole
from lib.machine import HUGE, MIB, mounted, switched
from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.report import read_report
from lib.smaps import huge_text_bytes, smaps
from lib.surroundings import BUILD
from programs import bigtext

SYS_PROCESS_MADVISE, MADV_PAGEOUT = 440, 21


def expect_huge(page_cache, path, slots=SLOTS):
    before = digest(path)
    said = page_cache(path)
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, None, slots * HUGE)
    assert huge_bytes(path, slots * HUGE) == slots * HUGE
    assert digest(path) == before
    again = page_cache(path, times=5)
    assert again["huge_bytes"] == slots * HUGE
    assert again["read_bytes"] == 0


@pytest.mark.parametrize("state", ["small", "cold"])
def test_ext4(page_cache, huge_ext4, state):
    expect_huge(page_cache, make_file(huge_ext4, state=state))


@pytest.mark.parametrize("state", ["small", "cold"])
def test_xfs(page_cache, tmp_path, state):
    with image("xfs", tmp_path) as where:
        expect_huge(page_cache, make_file(where, state=state))


@pytest.mark.parametrize("state", ["small", "cold"])
def test_btrfs_is_huge_or_says_why_and_keeps_its_cache(page_cache, tmp_path, state):
    with image("btrfs", tmp_path) as where:
        path = make_file(where, state=state)
        before, held = digest(path), sum(cached(path)) if state == "small" else 0
        read_small(path) if state == "small" else drop(path)
        said = page_cache(path)
        if said["word"] is None:
            assert said["huge_bytes"] == huge_bytes(path) == SLOTS * HUGE
        else:
            assert (said["word"], said["huge_bytes"]) == ("file-unsupported", 0)
            assert sum(cached(path)) >= held - HUGE // 4096 - 64
            assert state == "small" or sum(cached(path)) <= 3 * HUGE // 4096  # one slot was tried, not all were read
            assert huge_bytes(path) == 0
        assert digest(path) == before


@pytest.mark.parametrize("feature, name, since", [("verity", "verity", (7, 2)), ("encrypt", "encryption", None)])
def test_ext4_with_a_feature_against_large_folios(page_cache, huge_ext4, tmp_path, feature, name, since):
    """Which no file there makes use of; from SINCE on it does not matter. (huge_ext4: a kernel that has them without.)"""
    with image("ext4", tmp_path, features=["-b", "4096", "-O", feature]) as where:
        path = make_file(where)
        if since and since <= KERNEL:
            expect_huge(page_cache, path)
            return
        said = page_cache(path)
        assert (said["word"], said["huge_bytes"]) == ("file-unsupported", 0)
        if not os.path.exists(f"/sys/fs/ext4/features/{name}"):
            pytest.skip(f"this kernel is built without {feature} and does not tell which filesystems have it")
        assert f"has the feature {feature}" in said["detail"]


@pytest.mark.parametrize("option", ["advise", "never", "within_size", "always"])
def test_tmpfs(page_cache, tmp_path, option):
    with mounted(["-t", "tmpfs", "-o", f"size=64M,huge={option}", "none"], tmp_path / "tmpfs") as where:
        expect_huge(page_cache, make_file(where))


def test_overlay(page_cache, huge_ext4, tmp_path):
    for name in ("upper", "work", "lower"):
        (huge_ext4 / name).mkdir(exist_ok=True)
    below = make_file(huge_ext4 / "lower", "program")
    options = ",".join(f"{name}dir={huge_ext4}/{name}" for name in ("lower", "upper", "work"))
    with mounted(["-t", "overlay", "-o", options, "none"], tmp_path / "overlay") as where:
        expect_huge(page_cache, where / "program")
        assert huge_bytes(below) == SLOTS * HUGE  # one cache for all


def make_dirty(path):
    """
    As an image's layer is that was unpacked a moment ago: a new file, and none of it on the disk. In small pieces: the kernel makes
    large folios for large writes. (Of a file that was truncated, ext4 begins to write it when it is closed.)
    """
    content = path.read_bytes()
    path.unlink()
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(content), 4096):
            file.write(content[start:start + 4096])
    path.chmod(0o755)
    return path


def expect_written(page_cache, path, lower=None):
    """The file is dirty, and becomes huge all the same; what it holds has come to the disk before it was dropped."""
    before = digest(path)
    said = page_cache(path, timeout_ms=60000)
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, None, SLOTS * HUGE)
    assert digest(path) == before
    drop(lower or path)
    assert digest(path) == before


def test_a_dirty_file_is_written_first(page_cache, huge_ext4):
    expect_written(page_cache, make_dirty(make_file(huge_ext4)))


def test_a_dirty_file_on_xfs_is_written_first(page_cache, tmp_path):
    with image("xfs", tmp_path) as where:
        expect_written(page_cache, make_dirty(make_file(where)))


def test_a_dirty_lower_layer_is_written_first(page_cache, huge_ext4, tmp_path):
    """The first container after its image was pulled; an overlay's own fsync(2) would not reach the file."""
    for name in ("dirty-upper", "dirty-work", "dirty-lower"):
        (huge_ext4 / name).mkdir(exist_ok=True)
    below = make_dirty(make_file(huge_ext4 / "dirty-lower", "program"))
    options = ",".join(f"{name}dir={huge_ext4}/dirty-{name}" for name in ("lower", "upper", "work"))
    with mounted(["-t", "overlay", "-o", options, "none"], tmp_path / "overlay") as where:
        expect_written(page_cache, where / "program", below)


def test_a_memory_filesystem_below_an_overlay_costs_no_time(page_cache, tmp_path):
    """It is dirty for ever: that is seen at once, and not waited for."""
    with mounted(["-t", "tmpfs", "-o", "size=64M,huge=never", "none"], tmp_path / "tmpfs") as below:
        for name in ("upper", "work", "lower"):
            (below / name).mkdir()
        make_file(below / "lower", "program")
        options = ",".join(f"{name}dir={below}/{name}" for name in ("lower", "upper", "work"))
        with mounted(["-t", "overlay", "-o", options, "none"], tmp_path / "overlay") as where:
            said = page_cache(where / "program", timeout_ms=60000)
            assert said["word"] in (None, "file-busy", "file-unsupported") and said["ms"][0] < 30000


def test_read_only_mount(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    run(["mount", "-o", "remount,ro", huge_ext4])
    try:
        expect_huge(page_cache, path)
    finally:
        assert run(["mount", "-o", "remount,rw", huge_ext4]).returncode == 0


def test_mount_without_exec(page_cache, ext4):
    path = make_file(ext4)
    run(["mount", "-o", "remount,noexec", ext4])
    try:
        said = page_cache(path)
    finally:
        assert run(["mount", "-o", "remount,exec", ext4]).returncode == 0
    assert (said["result"], said["word"], said["huge_bytes"]) == (-1, "file-unsupported", 0)
    assert "not permitted" in said["detail"]
    assert whole(cached(path))


def test_sparse_file(page_cache, huge_ext4):
    path = huge_ext4 / "sparse"
    with open(path, "wb") as file:
        file.truncate(4 * HUGE)
        os.pwrite(file.fileno(), b"x" * HUGE, HUGE)
        os.fsync(file.fileno())
    drop(path)
    expect_huge(page_cache, path, 4)


def test_half_cached_file(page_cache, huge_ext4):
    path = make_file(huge_ext4, state="cold")
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in (0, 5, 700, 1500, 1501, 3071):
            os.pread(file.fileno(), 1, page * 4096)
    expect_huge(page_cache, path)


@pytest.mark.parametrize("state", ["small", "cold"])
def test_nothing_is_read_twice(page_cache, huge_ext4, state):
    said = page_cache(make_file(huge_ext4, state=state, size=20 * HUGE))
    assert said["huge_bytes"] == 20 * HUGE
    assert 20 * HUGE <= said["read_bytes"] <= 21 * HUGE


@pytest.mark.alone
@pytest.mark.parametrize("word", ["never", "always"])
def test_switch_of_transparent_huge_pages_does_not_matter(page_cache, huge_ext4, word):
    path = make_file(huge_ext4)
    with switched("/sys/kernel/mm/transparent_hugepage/enabled", word):
        expect_huge(page_cache, path)


def test_file_of_someone_else(page_cache, huge_ext4, nobody):
    """Who neither owns the file nor may write to it may not ask what is cached."""
    for state in ("small", "cold"):
        path = make_file(huge_ext4, state=state)
        said = page_cache(path, before=nobody, times=4)
        assert (said["word"], said["huge_bytes"]) == (None, SLOTS * HUGE)
        assert said["read_bytes"] <= FILE_BYTES + HUGE  # only the first time was anything read
        assert huge_bytes(path) == SLOTS * HUGE


def test_a_page_that_is_in_use_for_a_moment(page_cache, tmp_path):
    """The kernel cannot collapse a slot of which a page is in a pipe; it is asked again until the pipe has been read."""
    with mounted(["-t", "tmpfs", "-o", "size=64M", "none"], tmp_path / "tmpfs") as where:
        path = make_file(where)
        receiver, sender = os.pipe()
        with open(path, "rb") as file:
            assert os.splice(file.fileno(), sender, 4096, offset_src=2 * HUGE + 8192) == 4096
        def read():
            wait_for(lambda: huge_bytes(path) > 0)  # others are, so that it is at work
            time.sleep(0.3)
            os.read(receiver, 4096)

        reader = threading.Thread(target=read)
        reader.start()
        said = page_cache(path, timeout_ms=60000)
        reader.join()
        assert (said["word"], said["huge_bytes"]) == (None, SLOTS * HUGE)
        assert min(said["ms"]) > 100  # it did wait
        # Nobody reads: half of the time is spent in vain, and the others are huge.
        path = make_file(where, "other")
        with open(path, "rb") as file:
            os.splice(file.fileno(), sender, 4096, offset_src=2 * HUGE + 8192)
        said = page_cache(path, timeout_ms=3000)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", (SLOTS - 1) * HUGE)
        os.close(receiver), os.close(sender)


def test_callers_sigchld_is_its_own(page_cache, huge_ext4):
    said = page_cache(make_file(huge_ext4), preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert (said["word"], said["huge_bytes"]) == (None, SLOTS * HUGE)


def test_two_at_once(huge_ext4):
    path = make_file(huge_ext4, size=20 * HUGE)
    program = BUILD / "tests" / "programs" / "page-cache"
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process([program, path, "60000"], stdout=subprocess.PIPE))
                     for _ in range(4)]
        said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert {one["result"] for one in said} == {0}
    assert {one["word"] for one in said} <= {None, "file-busy", "file-unsupported"}  # each maps what the others drop
    program_alone = run([program, path, "60000"])
    assert json.loads(program_alone.stdout)["huge_bytes"] == 20 * HUGE


def resident_text(pid, path):
    return sum(entry["Rss"] for entry in smaps(pid) if "x" in entry["perms"] and entry["path"] == path)


def page_out(process, path):
    """Have the kernel take back all text of PATH, as if memory were short (process_madvise, MADV_PAGEOUT)."""
    libc, pidfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(process.pid)
    try:
        for text in (entry for entry in smaps(process.pid) if "x" in entry["perms"] and entry["path"] == path):
            range_ = struct.pack("QQ", text["start"], text["end"] - text["start"])
            if libc.syscall(SYS_PROCESS_MADVISE, pidfd, range_, ctypes.c_size_t(1), MADV_PAGEOUT, 0) < 0:
                pytest.skip(f"process_madvise: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("how", ["cc", "cc -no-pie"])
def test_text_that_the_kernel_has_taken_back_comes_back_huge(hugexec_command, huge_ext4, how):
    """
    Also that of a program in which nothing else is to be done, because it has fixed addresses: without the advice that it gets for that
    the kernel would read small folios.
    """
    path = str(huge_ext4 / "program")
    bigtext.build(8, path, how.split())
    run(["sync", path])
    words, report = hugexec_command([path, "loop", "1000000000000"], policy_with(), "file")
    with Process(words, stdout=subprocess.DEVNULL) as process:
        before = wait_for(lambda: read_report(report) and huge_text_bytes(process.pid), process=process)
        assert 6 * MIB <= before <= 8 * MIB
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: status_of(process.pid)["State"][0] == "T", process=process)
        page_out(process, path)
        if huge_text_bytes(process.pid) > 0:
            pytest.skip("this kernel takes no text back when it is asked to")
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: resident_text(process.pid, path) >= 8 * MIB, process=process)
        assert huge_text_bytes(process.pid) >= before - HUGE  # where the first fault fell some small folios may be in the way
        process.kill()
