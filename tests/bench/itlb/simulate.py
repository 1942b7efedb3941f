# SPDX-License-Identifier: Apache-2.0
"""Run a program under QEMU's user mode with the plugin, the same way each time."""
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess


@dataclasses.dataclass(frozen=True)
class Guest:
    qemu: str
    cpu: str
    triple: str
    root: pathlib.Path | None = None  # what its programs see as /, file by file, if that is not this machine

    def words(self):
        return [self.qemu, "-seed", "1", "-cpu", self.cpu, *(("-L", self.root) if self.root else ())]


# Instructions are AVX2's and older; that is the newest that this QEMU translates.
X86_64 = Guest("qemu-x86_64", "max", "x86_64-linux-gnu")


def arm64(root):
    return Guest("qemu-aarch64", "neoverse-n1", "aarch64-linux-gnu", root)


def why_not(plugin, guest=X86_64):
    """Why this machine cannot simulate; None: it can."""
    if not plugin.exists():
        return f"{plugin} is not built"
    if not shutil.which(guest.qemu):
        return f"{guest.qemu} is not there (apt-get install qemu-user)"
    version = subprocess.run([guest.qemu, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"version (\d+)\.(\d+)", version)
    if not (7, 2) <= (int(number[1]), int(number[2])) < (9, 0):
        return f"the plugin is for QEMU 7.2 to 8.2; this is {number[1]}.{number[2]}"
    some = [guest.root / "lib" / "ld-linux-aarch64.so.1", "--version"] if guest.root else ["/bin/true"]
    result = subprocess.run([*guest.words(), "-plugin", f"{plugin},out=/dev/null", *some], capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else f"{guest.qemu} does not run {some[0]} with the plugin: {result.stderr.strip()}"


def environment(**more):
    """The same for everybody, for its size moves the stack, and its words change what programs do."""
    return {"LANG": "C", "PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
            **more}


def command_for(plugin, command, guest=X86_64, variables=None, **arguments):
    """The words that run COMMAND in GUEST with the plugin's ARGUMENTS. VARIABLES are the guest's alone, not QEMU's."""
    program = os.path.realpath(shutil.which(command[0]))
    if guest.root:
        arguments = {"root": guest.root, **arguments}
    words = ",".join(f"{name}={value}" for name, value in {"program": program, **arguments}.items())
    settings = [word for name, value in (variables or {}).items() for word in ("-E", f"{name}={value}")]
    return ["setarch", "-R", *guest.words(), *settings, "-0", command[0], "-plugin", f"{plugin},{words}", program, *command[1:]]


def results_of(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
