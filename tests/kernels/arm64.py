# SPDX-License-Identifier: Apache-2.0
"""hugexec for arm64 on a machine of another kind: arm64.py BUILD [unit|SERIES|16k...]

Debian's libraries of arm64 are unpacked below BUILD (packages.py: nothing of this machine's is changed), hugexec is built with them by
Debian's cross compiler, its unit tests run in qemu-aarch64, and run.py's guest tries the rest on Debian's kernels, which qemu emulates.
Exit 0: nothing failed; 1: something did; 77: what that takes could not be had (said).
"""
import pathlib
import shutil
import subprocess
import sys

import packages
import run
from machine import ARM64

HERE = run.HERE
TOOLS = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "qemu-system-aarch64": "qemu-system-arm", "qemu-aarch64": "qemu-user", "cpio": "cpio"}
# To build with, and what the guest needs beside hugexec.
PACKAGES = ("libc6-dev", "libsystemd-dev", "libelf-dev", "libseccomp-dev", "libjson-c-dev", "libcmocka-dev",
            "busybox-static", "util-linux", "systemd", "apparmor")
SERIES = ("6.1", "6.12")
# Kernels with larger pages, by flavour; the newest that there is.
FLAVOURS = {"16k": ("7.2", "arm64-16k")}


def own_suite():
    lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME=")), None)


def make(build, root):
    """Build hugexec with the libraries in ROOT; the folder that it is in."""
    target = build / "arm64"
    constants = target.with_suffix(".ini")
    constants.write_text(f"[constants]\nsysroot = '{root}'\n")
    if not (target / "build.ninja").exists():
        subprocess.run(["meson", "setup", "--cross-file", constants, "--cross-file", HERE / "arm64.ini", "-Dwerror=true", target, run.ROOT],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", target, "--quiet"], check=True)
    return target


def unit_tests(target):
    """They take their time, emulated: the limit is for one that hangs."""
    return subprocess.run(["meson", "test", "-C", target, "--no-rebuild", "--timeout-multiplier", "20", "--print-errorlogs"], check=False).returncode == 0


def passed_over(why):
    print(f"passed over: arm64: {why}")
    return 77


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:] or ["unit", *SERIES, *FLAVOURS]
    missing = sorted(package for tool, package in TOOLS.items() if not shutil.which(tool))
    if missing:
        return passed_over(f"apt-get install {' '.join(missing)}")
    folder = build / "programs" / "arm64"
    root = folder / "root"
    fetched = packages.Packages(folder, "arm64", ("cloud-arm64",))
    if not root.exists() and not fetched.make_root(root, own_suite(), PACKAGES):
        return passed_over("no mirror has its libraries")
    ARM64.root = root
    target = make(build, root)
    failed = 0 if "unit" not in wanted or unit_tests(target) else 1
    series = [name for name in wanted if name != "unit" and name not in FLAVOURS]
    jobs = [(fetched, series)] if series else []
    jobs += [(packages.Packages(folder, "arm64", (FLAVOURS[name][1],)), [FLAVOURS[name][0]]) for name in wanted if name in FLAVOURS]
    for where, names in jobs:
        counts = run.run(ARM64, target, where, names)
        if counts:
            print("arm64: {} passed, {} failed".format(*counts))
            failed += counts[1]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
