"""Huge folios in the page cache, on real filesystems: what becomes huge, what is left alone, and the reason that is told."""
import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import pathlib
import resource
import signal
import struct
import subprocess
import threading
import time

import pytest

from conftest import BUILD, HUGE, MIB, Process, mounted, run, switched

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
MAP_FIXED = 0x10
MADV_POPULATE_READ = 22
PR_SET_THP_DISABLE = 41
SLOTS = 6
FILE_BYTES = SLOTS * HUGE + 12345  # the last slot is not whole
BATCH_BYTES = 4 * HUGE  # no more is ever missing from the cache
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


@pytest.fixture(scope="session")
def page_cache():
    """Call the module on a file; what it says, as a dict."""
    program = BUILD / "tests" / "programs" / "page-cache"

    def call(path, timeout_ms=5000, ranges=(), times=1, before=(), **options):
        words = [*before, program, f"--times={times}", path, timeout_ms, *ranges]
        done = run(words, **options)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["leaked_files"], said["leaked_mappings"], said["leaked_children"]) == (0, 0, False)
        return said

    return call


@contextlib.contextmanager
def image(kind, folder, options="loop"):
    """A filesystem of its own in a file."""
    file = folder / f"{kind}.img"
    with open(file, "wb") as handle:
        handle.truncate(400 * MIB)
    try:
        done = run([f"mkfs.{kind}", "-q", file])
    except FileNotFoundError:
        pytest.skip(f"mkfs.{kind} is not installed")
    assert done.returncode == 0, done.stderr
    with mounted(["-t", kind, "-o", options, file], folder / kind) as where:
        yield where


@pytest.fixture(name="ext4", scope="module")
def ext4_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ext4")
    for parent in (folder, *folder.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    with image("ext4", folder) as where:
        yield where


@pytest.fixture(name="huge_ext4")
def huge_ext4_fixture(ext4):
    if KERNEL < (6, 16):
        pytest.skip("ext4 has large folios from Linux 6.16 on")
    return ext4


# A file, and its page cache seen by other means than the module's

def drop(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_small(path):
    """Have the file in the cache in small folios."""
    drop(path)
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in range(0, os.path.getsize(path), 4096):
            os.pread(file.fileno(), 1, offset)


def make_file(folder, name="file", state="small", size=FILE_BYTES):
    path = folder / name
    path.write_bytes(os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB))
    path.chmod(0o755)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    if state == "small":
        read_small(path)
    else:
        drop(path)
    return path


@contextlib.contextmanager
def mapping(path, size, prot=mmap.PROT_READ | mmap.PROT_EXEC):
    """The file mapped as the module's users do: privately, at an address that agrees with the offset modulo 2 MiB."""
    with open(path, "rb") as file:
        reserve = LIBC.mmap(None, size + HUGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        start = (reserve + HUGE - 1) // HUGE * HUGE
        assert LIBC.mmap(start, size, prot, mmap.MAP_PRIVATE | MAP_FIXED, file.fileno(), 0) == start
    try:
        yield start
    finally:
        LIBC.munmap(reserve, size + HUGE)


def smaps_of(start):
    counts, inside = {}, False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = int(words[0].split("-")[0], 16) == start
        elif inside and words[-1] == "kB":
            counts[words[0][:-1]] = int(words[1]) * 1024
    return counts


def huge_bytes(path, size=SLOTS * HUGE):
    """What the kernel maps by 2 MiB entries of a file that is in the cache."""
    with mapping(path, size) as start:
        LIBC.madvise(start, size, MADV_POPULATE_READ)
        counts = smaps_of(start)
    return counts["FilePmdMapped"] + counts["ShmemPmdMapped"]


def cached(path):
    """A byte for each page of the file: whether it is in the cache."""
    size = os.path.getsize(path)
    with mapping(path, size, mmap.PROT_READ) as start:
        pages = ctypes.create_string_buffer((size + 4095) // 4096)
        assert LIBC.mincore(start, size, pages) == 0
    return bytes(page & 1 for page in pages.raw)


def whole(pages):
    """
    All in the cache, but for a few, which the kernel may have paged out by itself (conftest.takes_pages_back()). What a drop
    takes is 512 at a time.
    """
    return pages.count(0) < 64


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@contextlib.contextmanager
def small_user(path, size, pages=range(0, 1 << 20, 64)):
    """A process that has some of the file's pages mapped."""
    code = ("import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), int(sys.argv[2]), prot=mmap.PROT_READ)\n"
            "for page in eval(sys.argv[3]):\n"
            "    if page * 4096 >= len(m): break\n"
            "    m[page * 4096]\n"
            "print('mapped', flush=True); sys.stdin.read()")
    with Process(["/usr/bin/python3", "-c", code, path, str(size), repr(pages)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "mapped\n"
            yield process
        finally:
            process.kill()


# What becomes huge

def expect_huge(page_cache, path, slots=SLOTS):
    before = digest(path)
    said = page_cache(path)
    assert (said["result"], said["word"], said["huge_bytes"]) == (0, None, slots * HUGE)
    assert huge_bytes(path, slots * HUGE) == slots * HUGE
    assert digest(path) == before
    again = page_cache(path, times=5)
    assert again["huge_bytes"] == slots * HUGE
    assert min(again["ms"]) < max(2, 0.2 * said["ms"][0])


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
        assert min(said["ms"]) < max(4, 0.3 * said["ms"][0])
        assert huge_bytes(path) == SLOTS * HUGE


def test_callers_sigchld_is_its_own(page_cache, huge_ext4):
    said = page_cache(make_file(huge_ext4), preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert (said["word"], said["huge_bytes"]) == (None, SLOTS * HUGE)


def test_two_at_once(huge_ext4):
    path = make_file(huge_ext4, size=20 * HUGE)
    program = BUILD / "tests" / "programs" / "page-cache"
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Process([program, path, "5000"], stdout=subprocess.PIPE))
                     for _ in range(4)]
        said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert {one["result"] for one in said} == {0}
    assert {one["word"] for one in said} <= {None, "file-busy", "file-unsupported"}  # each maps what the others drop
    program_alone = run([program, path, "5000"])
    assert json.loads(program_alone.stdout)["huge_bytes"] == 20 * HUGE


# What is left alone

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


def test_pages_of_another_process_are_left_alone(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES):
        said = page_cache(path)
        assert (said["result"], said["word"], said["huge_bytes"]) == (0, "file-busy", 0)
        assert whole(cached(path))
        again = page_cache(path, times=3)
        assert again["word"] == "file-busy" and whole(cached(path))
    assert page_cache(path)["huge_bytes"] == SLOTS * HUGE


def test_slots_that_nobody_uses_become_huge(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES, pages=[600]):
        said = page_cache(path)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", (SLOTS - 1) * HUGE)
        assert whole(cached(path)[512:1024])


def test_pages_of_another_process_seen_without_privilege(page_cache, huge_ext4, nobody):
    path = make_file(huge_ext4)
    with small_user(path, FILE_BYTES):
        said = page_cache(path, before=nobody)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", 0)
        assert whole(cached(path))


def test_dirty_pages_are_left_alone_and_not_written(page_cache, huge_ext4):
    path = make_file(huge_ext4)
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"new", 2 * HUGE + 5000)
        before = digest(path)
        said = page_cache(path)
        assert (said["word"], said["huge_bytes"]) == ("file-busy", (SLOTS - 1) * HUGE)
        with mapping(path, FILE_BYTES) as start:
            LIBC.madvise(start, FILE_BYTES, MADV_POPULATE_READ)
            assert smaps_of(start)["Private_Dirty"] + smaps_of(start)["Shared_Dirty"] == 4096
        assert digest(path) == before
        os.fsync(file.fileno())
    assert page_cache(path)["huge_bytes"] == SLOTS * HUGE
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
        start = time.monotonic()
        said = page_cache(path, timeout_ms=800, preexec_fn=join)
        took = time.monotonic() - start
    assert said["word"] == "file-timeout"
    assert said["huge_bytes"] < 20 * HUGE
    assert said["ms"][0] < 1000 and took < 2
    if state == "small":
        # On the faster one the time is too short for another batch, and none is begun.
        most_missing = BATCH_BYTES if bytes_a_second == MIB else HUGE
        assert sum(cached(path)) * 4096 >= 20 * HUGE - most_missing - 64 * 4096
