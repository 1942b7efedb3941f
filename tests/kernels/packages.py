# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels, older and newer than this machine's suite has, fetched and unpacked below a folder, never installed.

An apt with folders of its own does it, so that the machine's lists, sources and packages stay as they are. What was unpacked once
is taken again without a look at the mirror.
"""
import os
import pathlib
import re
import shutil
import subprocess

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports", "sid")
# For each of the matrix, from which series a kernel is taken: the first that there is. Backports come and go.
SERIES = {"5.10": ("5.10",), "6.1": ("6.1",), "6.12": ("6.12",), "6.18": ("6.18", "6.19", "6.17", "6.16"), "7.2": ("7.2", "7.3", "7.4")}
# Verified only by the mirror's word: what is fetched runs in an emulated machine and nowhere else.
SOURCES = "deb [trusted=yes] {mirror} {suite} main\n"


def numbers(name):
    return [int(number) for number in re.findall(r"\d+", name)]


def mirror():
    """Where this machine's apt has Debian from."""
    told = subprocess.run(["apt-cache", "policy"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^ *-?\d+ (\S+/debian/?) [a-z]+/main ", told, re.MULTILINE)
    return found.group(1) if found else None


class Packages:
    """Of ARCHITECTURE. FLAVOURS: how the names of kernels end."""

    def __init__(self, folder, architecture="amd64", flavours=("cloud-amd64",)):
        self.folder = folder
        self.architecture = architecture
        self.flavours = flavours
        self.apt = folder / "apt"
        self.listed = None

    def run(self, *words, own_suite=False):
        environment = {} if own_suite else {"APT_CONFIG": str(self.apt / "apt.conf")}
        self.apt.mkdir(parents=True, exist_ok=True)
        return subprocess.run(words, env={**os.environ, **environment}, cwd=self.apt, capture_output=True, text=True, check=False)

    def names(self):
        """All kernels of all suites; none where there is no mirror to ask."""
        if self.listed is None:
            self.update()
            told = self.run("apt-cache", "search", "--names-only", rf"^linux-image-[0-9].*-({'|'.join(self.flavours)})$").stdout
            self.listed = [line.split()[0] for line in told.splitlines()]
        return self.listed

    def update(self):
        for name in ("lists/partial", "cache/archives/partial"):
            (self.apt / name).mkdir(parents=True, exist_ok=True)
        (self.apt / "status").touch()
        there = mirror()
        (self.apt / "sources.list").write_text("".join(SOURCES.format(mirror=there, suite=suite) for suite in SUITES) if there else "")
        (self.apt / "apt.conf").write_text(f"""
Dir::Etc::SourceList "{self.apt}/sources.list";
Dir::Etc::SourceParts "/nonexistent";
Dir::State::Lists "{self.apt}/lists";
Dir::State::status "{self.apt}/status";
Dir::Cache "{self.apt}/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
APT::Architecture "{self.architecture}";
APT::Architectures "{self.architecture}";
""")
        self.run("apt-get", "update")

    def make_root(self, target, suite, names):
        """Unpack the packages NAMES of SUITE, and all that they need, into the folder TARGET. Returns whether that could be done."""
        partly = target.with_name(target.name + ".part")
        shutil.rmtree(partly, ignore_errors=True)
        self.names()
        if self.run("apt-get", "install", "--download-only", "--yes", "--no-install-recommends", "--target-release", suite, *names).returncode:
            return False
        for archive in sorted((self.apt / "cache" / "archives").glob("*.deb")):
            partly.mkdir(exist_ok=True)
            unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", partly], input=unpacked, check=True)
            archive.unlink()
        partly.rename(target)
        return True

    def fetch(self, package, target, own_suite=False):
        if self.run("apt-get", "download", package, own_suite=own_suite).returncode:
            return False
        archive = next(self.apt.glob(f"{package.partition('/')[0]}_*.deb"))
        subprocess.run(["dpkg", "-x", archive, target], check=True)
        archive.unlink()
        return True

    def unpack(self, package, own_suite=False):
        """The folder that PACKAGE (or PACKAGE/SUITE) is unpacked in, or None. OWN_SUITE: of this machine's suite, whose libraries are here."""
        folder = package.replace("/", "-")
        target, partly = self.folder / folder, self.folder / f"{folder}.part"
        if target.exists():
            return target
        if not own_suite:
            self.names()
        if not self.fetch(package, partly, own_suite):
            return None
        # From 6.19 on the image, and from 7.2 on the modules, are packages of their own.
        if package.startswith("linux-image-"):
            if not image(partly):
                self.fetch(package.replace("image", "binary", 1), partly)
            if not any(partly.rglob("*.ko*")):
                self.fetch(package.replace("image", "modules", 1), partly)
        partly.rename(target)
        return target

    def kernels(self, wanted):
        """(series, folder or None) of each series of the matrix that is WANTED."""
        for series in wanted:
            found = None
            for candidate in SERIES.get(series, (series,)):
                there = sorted((path for flavour in self.flavours for path in self.folder.glob(f"linux-image-{candidate}.*-{flavour}")),
                               key=lambda path: numbers(path.name))
                names = [] if there else [name for name in self.names() if name.startswith(f"linux-image-{candidate}.")]
                found = there[-1] if there else self.unpack(max(names, key=numbers)) if names else None
                if found:
                    break
            yield series, found


def image(kernel):
    """The kernel's own file in the folder that it is unpacked in."""
    return next((path for path in kernel.rglob("vmlinuz*") if path.is_file()), None)


def modules(kernel):
    """The folder of its modules."""
    return next(path.parent for path in pathlib.Path(kernel).rglob("kernel") if path.parent.parent.name == "modules")
