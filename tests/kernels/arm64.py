# SPDX-License-Identifier: Apache-2.0
"""hugexec for arm64 on a machine of another kind: arm64.py BUILD [system|unit|launches|SERIES|16k...]

Debian's libraries of arm64 are unpacked below BUILD (packages.py: nothing of this machine's is changed), hugexec is built with them by
Debian's cross compiler, and run.py's guest tries it on Debian's kernels, which qemu emulates; its unit tests, the fault run and containers
run there, too (system.py).
Exit 0: nothing failed; 1: something did; 77: what that takes could not be had (said).
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import packages
import run
import system
from machine import ARM64

HERE = run.HERE
TOOLS = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "qemu-system-aarch64": "qemu-system-arm", "qemu-aarch64": "qemu-user", "cpio": "cpio",
         "mkfs.ext4": "e2fsprogs"}
# To build with, and what the guest needs beside hugexec: for the fault run and containers, too (system.py).
PACKAGES = ("libc6-dev", "libsystemd-dev", "libelf-dev", "libseccomp-dev", "libjson-c-dev", "libcmocka-dev",
            "busybox-static", "util-linux", "systemd", "apparmor",
            "bash", "dash", "coreutils", "mount", "libc-bin", "binutils", "python3", "python3-pytest", "runc", "crun")
SERIES = ("6.1",)
MORE = ("system", "unit")
ONLY = ("launches",)  # a part of what is tried on 6.1, for tests/mutations
# Kernels with larger pages, by flavour; the newest that there is.
FLAVOURS = {"16k": ("7.2", "arm64-16k")}


def own_suite():
    lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME=")), None)


def have_root(root, fetched):
    """Have the packages unpacked in ROOT: those of an earlier run, if they are the same ones."""
    listed = root / "packages"
    if listed.exists() and listed.read_text() == " ".join(PACKAGES):
        return True
    for folder in (root, root.parent / "system"):
        shutil.rmtree(folder, ignore_errors=True)
    if not fetched.make_root(root, own_suite(), PACKAGES):
        return False
    listed.write_text(" ".join(PACKAGES))
    return True


def make(build, root):
    """Build hugexec with the libraries in ROOT; the folder that it is in."""
    target = build / "arm64"
    constants = target.with_suffix(".ini")
    constants.write_text(f"[constants]\nsysroot = '{root}'\n")
    if not (target / "build.ninja").exists():
        subprocess.run(["meson", "setup", "--prefix=/usr", "--cross-file", constants, "--cross-file", HERE / "arm64.ini", "-Dwerror=true", target,
                        run.ROOT],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", target, "--quiet"], check=True)
    return target


def tell(title, lines):
    """Print what has been tried; how many passed and failed."""
    lines = [line for line in lines if line.startswith(("ok ", "FAIL ", "note "))]
    print(f"== {title}\n" + "\n".join(lines), flush=True)
    return sum(line.startswith("ok ") for line in lines), sum(line.startswith("FAIL ") for line in lines)


def try_more(target, fetched, wanted):
    """What the x86-64 machine tries on its own kernel: the fault run, containers and tests in Python, and the unit tests in C. Those are not
    run by qemu-aarch64, which lacks what many of them are about (openat2, memory files, /proc, ptrace)."""
    kernel = next(fetched.kernels(SERIES[:1]))[1]
    if not kernel:
        return [None]
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        common = run.make_initramfs(ARM64, target, folder, fetched)
        if "system" in wanted:
            counts.append(tell("faults, containers, tests in Python", system.try_system(ARM64, kernel, common, target, fetched.folder, folder)))
        for part in set(ONLY) & set(wanted):
            counts.append(tell(part, run.try_kernel(ARM64, kernel, common, {}, folder, more=part)))
        if "unit" in wanted:
            run.add_unit_tests(ARM64, target, folder / "initramfs")
            (folder / "initramfs.gz").write_bytes(run.pack(folder / "initramfs"))
            counts.append(tell("unit tests", run.boot(ARM64, kernel, folder / "initramfs.gz", {}, "unit")))
    return counts


def passed_over(why):
    print(f"passed over: arm64: {why}")
    return 77


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:] or [*MORE, *SERIES, *FLAVOURS]
    missing = sorted(package for tool, package in TOOLS.items() if not shutil.which(tool))
    if missing:
        return passed_over(f"apt-get install {' '.join(missing)}")
    folder = pathlib.Path(os.environ.get("HUGEXEC_PROGRAMS", build / "programs")).resolve() / "arm64"
    root = folder / "root"
    fetched = packages.Packages(folder, "arm64", ("cloud-arm64",))
    if not have_root(root, fetched):
        return passed_over("no mirror has its libraries")
    ARM64.root = root
    target = make(build, root)
    counts = try_more(target, fetched, wanted) if {*MORE, *ONLY} & set(wanted) else []
    series = [name for name in wanted if name not in (*MORE, *ONLY, *FLAVOURS)]
    jobs = [(fetched, series)] if series else []
    jobs += [(packages.Packages(folder, "arm64", (FLAVOURS[name][1],)), [FLAVOURS[name][0]]) for name in wanted if name in FLAVOURS]
    counts += [run.run(ARM64, target, where, names) for where, names in jobs]
    if not all(counts):
        print("passed over: arm64: not all kernels could be had")
    passed, failed = (sum(count[i] for count in counts if count) for i in (0, 1))
    print(f"arm64: {passed} passed, {failed} failed")
    return 1 if failed else 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
