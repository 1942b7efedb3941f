# SPDX-License-Identifier: Apache-2.0
"""Filesystems of the tests' own."""
import contextlib
import shutil

import pytest

from lib.machine import mounted
from lib.process import run


@contextlib.contextmanager
def image(kind, folder, mib):
    """A filesystem in a file, mounted at FOLDER/mnt."""
    maker = shutil.which(f"mkfs.{kind}")
    if not maker:
        pytest.skip(f"mkfs.{kind} is not installed")
    file = folder / "image"
    with open(file, "wb") as sparse:
        sparse.truncate(mib << 20)
    assert run([maker, "-q", file]).returncode == 0
    with mounted(["-o", "loop", file], folder / "mnt") as target:
        yield target
    file.unlink()


@contextlib.contextmanager
def overlay_above_ext4(folder, mib):
    with image("ext4", folder, mib) as lower:
        for name in ("upper", "work"):
            (lower / name).mkdir()
        (lower / "lower").mkdir()
        folders = f"lowerdir={lower}/lower,upperdir={lower}/upper,workdir={lower}/work"
        with mounted(["-t", "overlay", "overlay", "-o", folders], folder / "merged") as target:
            yield target
