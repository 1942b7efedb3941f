# SPDX-License-Identifier: Apache-2.0
"""
Fetch the newest containerd that a suite of Debian has, which is newer than this machine's and knows NRI, and 1.7, which has it switched off:
get_containerd.py FOLDER [PACKAGE[/SUITE]...]
Packages are unpacked below FOLDER, which is that of tests/get-programs, and never installed.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kernels.packages import Packages


def main(folder, names):
    packages = Packages(pathlib.Path(folder).resolve() / "newer")
    for name in names or ["containerd", "containerd/trixie"]:
        if not packages.unpack(name):
            print(f"get_containerd: no other suite's {name} can be had")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
