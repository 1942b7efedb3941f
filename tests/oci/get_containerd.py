# SPDX-License-Identifier: Apache-2.0
"""
Fetch the newest containerd that a suite of Debian has, which is newer than this machine's and knows NRI: get_containerd.py FOLDER.
It is unpacked below FOLDER, which is that of tests/get-programs, and never installed.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kernels.packages import Packages


def main(folder):
    found = Packages(pathlib.Path(folder).resolve() / "newer").unpack("containerd")
    if not found:
        print("get_containerd: no other suite's containerd can be had")


if __name__ == "__main__":
    main(sys.argv[1])
