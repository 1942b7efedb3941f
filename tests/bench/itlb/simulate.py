# SPDX-License-Identifier: Apache-2.0
"""Run a program under QEMU's user mode with the plugin, the same way each time."""
import json
import os
import pathlib
import re
import shutil
import subprocess

# Instructions are AVX2's and older; that is the newest that this QEMU translates.
QEMU = ("setarch", "-R", "qemu-x86_64", "-seed", "1", "-cpu", "max")


def why_not(plugin):
    """Why this machine cannot simulate; None: it can."""
    if not plugin.exists():
        return f"{plugin} is not built"
    if not shutil.which("qemu-x86_64"):
        return "qemu-x86_64 is not there (apt-get install qemu-user)"
    version = subprocess.run(["qemu-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"version (\d+)\.(\d+)", version)
    if not (7, 2) <= (int(number[1]), int(number[2])) < (9, 0):
        return f"the plugin is for QEMU 7.2 to 8.2; this is {number[1]}.{number[2]}"
    result = subprocess.run(["qemu-x86_64", "-plugin", f"{plugin},out=/dev/null", "/bin/true"], capture_output=True,
                            text=True, check=False)
    return None if result.returncode == 0 else f"qemu-x86_64 does not load the plugin: {result.stderr.strip()}"


def environment(**more):
    """The same for everybody, for its size moves the stack, and its words change what programs do."""
    return {"LANG": "C", "PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
            **more}


def command_for(plugin, command, **arguments):
    """The words that run COMMAND with the plugin's ARGUMENTS."""
    program = os.path.realpath(shutil.which(command[0]))
    words = ",".join(f"{name}={value}" for name, value in {"program": program, **arguments}.items())
    return [*QEMU, "-0", command[0], "-plugin", f"{plugin},{words}", program, *command[1:]]


def results_of(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
