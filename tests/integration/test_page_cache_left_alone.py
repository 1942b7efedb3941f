# SPDX-License-Identifier: Apache-2.0
"""Huge folios in the page cache: what is left alone, what a slow disk may cost, and the reason that is told."""
import contextlib
import ctypes
import os
import pathlib
import resource
import struct
import threading
import time

import pytest

from lib.cached_files import (
    BATCH_BYTES,
    FILE_BYTES,
    KERNEL,
    LIBC,
    MADV_POPULATE_READ,
    PR_SET_THP_DISABLE,
    SLOTS,
    cached,
    digest,
    drop,
    huge_bytes,
    make_file,
    mapping,
    small_user,
    smaps_of,
    whole,
)
from lib.machine import HUGE, MIB


def test_ranges(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    said = page_cache(path, ranges=[HUGE, HUGE, 3 * HUGE, 2 * HUGE])
    assert (said["word"], said["huge_bytes"]) == (None, 3 * HUGE)
    with mapping(path, FILE_BYTES) as start:
        LIBC.madvise(start, HUGE, MADV_POPULATE_READ)
        assert smaps_of(start)["FilePmdMapped"] == 0
    assert whole(cached(path)[:HUGE // 4096])


def test_range_behind_the_end(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    said = page_cache(path, ranges=[4 * HUGE, 4 * HUGE])
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, "file-short", 2 * HUGE)


@pytest.mark.parametrize("ranges", [(4096, HUGE), (0, 4096), (0, 1 << 50), ((1 << 64) - HUGE, 2 * HUGE)])
def test_absurd_ranges(page_cache, ext4, ranges):
    said = page_cache(make_file(ext4), ranges=ranges)
    assert said["huge_bytes"] == 0 and said["word"] in ("file-unsupported", "file-short")


def test_no_plain_file(page_cache, tmp_path):
    assert page_cache(tmp_path)["result"] == -1
    assert page_cache("/dev/zero")["word"] == "file-unsupported"


# The kernel collapses them then, for all who map them.
IN_USE_IS_LEFT_ALONE = pytest.mark.skipif(KERNEL >= (7, 2), reason="from Linux 7.2 on what others map or write can be huge, too")


@IN_USE_IS_LEFT_ALONE
def test_pages_of_another_process_are_left_alone(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES):
        said = page_cache(path)
        assert (said["result"], said["word"], said["huge_bytes"]) == (0, "file-busy", 0)
        assert whole(cached(path))
        again = page_cache(path, times=3)
        assert again["word"] == "file-busy" and whole(cached(path))
    assert page_cache(path)["huge_bytes"] == SLOTS * HUGE


@IN_USE_IS_LEFT_ALONE
def test_slots_that_nobody_uses_become_huge(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES, pages=[600]):
        said = page_cache(path)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", (SLOTS - 1) * HUGE)
        assert whole(cached(path)[512:1024])


@IN_USE_IS_LEFT_ALONE
def test_pages_of_another_process_seen_without_privilege(page_cache, huge_ext4, nobody):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES):
        said = page_cache(path, before=nobody)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", 0)
        assert whole(cached(path))


@IN_USE_IS_LEFT_ALONE
def test_dirty_pages_outside_of_the_text_are_not_written(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with open(path, "r+b", buffering=0) as file:
        for slot in (0, 2):
            os.pwrite(file.fileno(), b"new", slot * HUGE + 5000)
        before = digest(path)
        said = page_cache(path, ranges=[2 * HUGE, 2 * HUGE])
        assert (said["word"], said["huge_bytes"]) == (None, 2 * HUGE)
        with mapping(path, FILE_BYTES) as start:
            LIBC.madvise(start, FILE_BYTES, MADV_POPULATE_READ)
            assert smaps_of(start)["Private_Dirty"] + smaps_of(start)["Shared_Dirty"] == 4096
        assert digest(path) == before
        os.fsync(file.fileno())
    drop(path)
    assert digest(path) == before


def test_a_process_without_huge_pages(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    said = page_cache(path, preexec_fn=lambda: LIBC.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
    assert (said["result"], said["word"]) == (-1, "file-unsupported") and "PR_SET_THP_DISABLE" in said["detail"]
    assert whole(cached(path)) and huge_bytes(path) == 0


def forbid(call):
    """A seccomp filter that kills for one system call, as systemd's SystemCallFilter= does."""
    def instruction(code, yes, no, value):
        return struct.pack("HBBI", code, yes, no, value)

    code = b"".join((instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, call),  # load the number; is it CALL?
                     instruction(0x06, 0, 0, 0x80000000), instruction(0x06, 0, 0, 0x7fff0000)))  # kill; allow
    buffer = ctypes.create_string_buffer(code)

    def install():
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        if LIBC.prctl(22, 2, ctypes.c_char_p(program), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            raise OSError(ctypes.get_errno(), "seccomp")
    return install


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86-64")
def test_seccomp_filter(page_cache, huge_ext4):
    mincore, fadvise = 27, 221
    path = make_file(huge_ext4)
    before = cached(path)
    said = page_cache(path, preexec_fn=forbid(fadvise))
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, "file-unsupported", 0) and "seccomp" in said["detail"]
    assert sum(cached(path)) >= sum(before) - 64
    said = page_cache(path, preexec_fn=forbid(mincore))
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, None, SLOTS * HUGE)


def test_no_address_space(page_cache, ext4):
    limit = 14 * MIB
    said = page_cache(make_file(ext4), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert (said["result"], said["word"]) == (-1, "address-space-limit")


def test_truncated_meanwhile(page_cache, huge_ext4):
    """Neither the caller nor its child reads the file by plain loads: no SIGBUS, whatever happens to it."""
    path = make_file(huge_ext4)
    done = threading.Event()

    def truncate():
        with open(path, "r+b", buffering=0) as file:
            while not done.is_set():
                file.truncate(3 * HUGE + 100)
                file.truncate(FILE_BYTES)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    thread = threading.Thread(target=truncate)
    thread.start()
    try:
        said = page_cache(path, times=30, ranges=[0, SLOTS * HUGE], timeout_ms=200)
    finally:
        done.set()
        thread.join()
    assert said["huge_bytes"] <= SLOTS * HUGE


# A slow disk

@contextlib.contextmanager
def slowed(folder, bytes_a_second):
    """A cgroup in which reading from the disk of FOLDER is slow; yields a function that puts the caller into it."""
    group = pathlib.Path(f"/sys/fs/cgroup/blkio/hugexec-test-{os.getpid()}")
    device = os.stat(folder).st_dev
    limit = f"{os.major(device)}:{os.minor(device)} {bytes_a_second}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no blkio cgroup: {error}")
    try:
        (group / "blkio.throttle.read_bps_device").write_text(limit)
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


@pytest.mark.parametrize("bytes_a_second", [16 * MIB, MIB])
@pytest.mark.parametrize("state", ["small", "cold"])
def test_slow_disk(page_cache, huge_ext4, state, bytes_a_second):
    """Time is kept, and the cache is hardly smaller than before; on the slower one not even the first slot is read in time."""
    path = make_file(huge_ext4, state=state, size=20 * HUGE)
    with slowed(huge_ext4, bytes_a_second) as join:
        said = page_cache(path, timeout_ms=800, preexec_fn=join)
    assert said["word"] == "file-timeout"
    assert said["huge_bytes"] < 20 * HUGE
    assert said["ms"][0] < 20 * HUGE / bytes_a_second * 1000  # which all of it takes
    if state == "small":
        # On the faster one the time is too short for another batch, and none is begun.
        most_missing = BATCH_BYTES if bytes_a_second == MIB else HUGE
        assert sum(cached(path)) * 4096 >= 20 * HUGE - most_missing - 64 * 4096
