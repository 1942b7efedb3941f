# SPDX-License-Identifier: Apache-2.0
"""Filesystems of the tests' own, and files in the page cache seen by other means than hugexec's."""
import contextlib
import ctypes
import hashlib
import mmap
import os
import pathlib
import subprocess

import pytest

from lib.machine import HUGE, MIB, mounted
from lib.process import Process, run

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


@contextlib.contextmanager
def image(kind, folder, options="loop", features=()):
    """A filesystem of its own in a file."""
    file = folder / f"{kind}.img"
    with open(file, "wb") as handle:
        handle.truncate(400 * MIB)
    try:
        done = run([f"mkfs.{kind}", "-q", *features, file])
    except FileNotFoundError:
        pytest.skip(f"mkfs.{kind} is not installed")
    assert done.returncode == 0, done.stderr
    with mounted(["-t", kind, "-o", options, file], folder / kind) as where:
        yield where


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
    All in the cache, but for a few, which the kernel may have paged out by itself (lib.machine.takes_pages_back()). What a drop
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
