# SPDX-License-Identifier: Apache-2.0
"""What tests change on the machine (pools, switches, mounts), and give back; and how large huge pages are."""
import contextlib
import fcntl
import os
import pathlib
import time

import pytest

from lib.process import run

POOL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MIB = 1 << 20
HUGE = 2 * MIB
LOCKS = {"pool": "/tmp/hugexec-test-pool.lock", "turn": "/tmp/.hugexec-test-turn.lock", "gate": "/tmp/.hugexec-test-gate.lock",
         "cgroup": "/tmp/.hugexec-test-cgroup.lock"}
# Topics about what is in the page cache.
ABOUT_PAGE_CACHE = ("page_cache", "filesystems", "files_change", "frames", "libraries", "programs", "rebase",
                    "round_out", "coverage", "dlopen_whole", "status", "tools", "warm")


def takes_pages_back():
    """Whether DAMON has this kernel page out, now and then, what nobody has used for a moment (seen on virtual machines)."""
    for state in pathlib.Path("/sys/kernel/mm/damon/admin/kdamonds").glob("*/state"):
        for scheme in state.parent.glob("contexts/*/schemes/*/action"):
            try:
                if (state.read_text().strip(), scheme.read_text().strip()) == ("on", "pageout"):
                    return True
            except PermissionError:
                return True  # for all that a user can know
    return False


@contextlib.contextmanager
def mounted(words, where):
    """A mount that is gone afterwards, and its loop device with it."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    where.mkdir(exist_ok=True)
    done = run(["mount", *words, where])
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield where
    finally:
        for _ in range(50):  # a mount namespace that has a copy of it may be about to end
            if run(["umount", where]).returncode == 0:
                break
            time.sleep(0.1)
        else:
            run(["umount", "--lazy", where])
            pytest.fail(f"{where} was busy")


@contextlib.contextmanager
def lock(name, how):
    """
    Hold a lock (fcntl.LOCK_EX, LOCK_SH) that all tests of this machine share, whoever runs them: it is opened for reading, and
    created only if it is missing, because in /tmp the kernel lets nobody create what another user has.
    """
    path = LOCKS[name]
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closed alone it would last as long as what was forked meanwhile
        os.close(fd)


@contextlib.contextmanager
def turn(alone):
    """
    A test's turn: beside others, or ALONE on the machine. Who would be alone holds the gate, so that no other test begins
    meanwhile. The pool's lock is taken within a turn, never the other way round.
    """
    with contextlib.ExitStack() as stack:
        with lock("gate", fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            stack.enter_context(lock("turn", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@contextlib.contextmanager
def changed_pool(size):
    """The hugetlb pool with SIZE(pages before) pages; as before afterwards. One of the tests of this machine at a time."""
    count = POOL / "nr_hugepages"
    if not os.access(count, os.W_OK):
        pytest.skip("the hugetlb pool cannot be changed here")
    with lock("pool", fcntl.LOCK_EX):
        before = int(count.read_text())
        try:
            count.write_text(str(size(before)))
            yield before
        finally:
            count.write_text(str(before))


@contextlib.contextmanager
def take_hugetlb_pool(pages):
    """Have exactly PAGES free 2 MiB pages in the pool; the pool is as before afterwards. One test at a time."""
    with changed_pool(lambda before: before - int((POOL / "free_hugepages").read_text()) + pages):
        if int((POOL / "free_hugepages").read_text()) != pages:
            pytest.skip(f"the kernel has no {pages} free 2 MiB pages")
        yield


@contextlib.contextmanager
def switched(path, word):
    """A kernel setting changed for a while, by a test that is alone."""
    path = pathlib.Path(path)
    if not path.exists() or not os.access(path, os.W_OK):
        pytest.skip(f"{path} cannot be changed here")
    text = path.read_text()
    before = text[text.index("[") + 1:text.index("]")] if "[" in text else text.strip()
    try:
        path.write_text(word)
        yield
    finally:
        path.write_text(before)


def pool_for(backing, text_mib):
    """Enough of the pool for the copy, where it is needed."""
    return take_hugetlb_pool(text_mib // 2 + 2) if backing == "hugetlb" else contextlib.nullcontext()
