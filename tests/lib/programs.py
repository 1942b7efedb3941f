# SPDX-License-Identifier: Apache-2.0
"""Programs that tests run: generated ones, and Debian's that tests/get-programs has fetched."""
import contextlib
import fcntl
import os
import shutil
import subprocess

import pytest

from lib.surroundings import BUILD, PROGRAMS, ROOT
from programs import bigtext

GENERATED = PROGRAMS / "generated"  # test programs that are built on first use
UNPACKED = PROGRAMS / "root"
BACKINGS = ("file", "hugetlb", "thp")


@contextlib.contextmanager
def one_builder():
    """One process at a time builds programs."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    with open(GENERATED / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_bigtext(mib=8, name="pie", command=("cc",)):
    """Path of a generated program with MIB of text (tests/programs/bigtext.c); COMMAND is the compiler and its flags, kept by NAME."""
    path = GENERATED / f"bigtext-{name}-{mib}"
    sources = [ROOT / "tests" / "programs" / file for file in ("bigtext.c", "bigtext.py")]
    with one_builder():
        if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            bigtext.build(mib, str(path), tuple(command))
            os.sync()  # the file backing leaves dirty pages alone
            # And those that another runs in small pages, as the test beside the first one might.
            subprocess.run([BUILD / "shim" / "hugexecctl", "warm", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return str(path)


def needed(path):
    """PATH, or a skipped test where this program cannot be had."""
    found = shutil.which(str(path))
    if not found:
        pytest.skip(f"{path} is not there (tests/get-programs fetches it from Debian)")
    return found


C_SOURCE = "int square(int n) { return n * n; }\nint main(void) { return square(3); }\n"
