# SPDX-License-Identifier: Apache-2.0
"""tests/programs/probe.c, which prints all it can know of itself."""
import os
import re
import subprocess

from lib.process import Process
from lib.programs import GENERATED, one_builder
from lib.surroundings import ROOT
from programs import bigtext

OF_PIDS = re.compile(r"(pid|pgid|sid|foreground): |status (Pid|Tgid|NS\w+):")
KINDS = {"pie": ["cc"], "no-pie": ["cc", "-no-pie"], "static": ["cc", "-static"]}


def build_probe(kind):
    """Its path, with 8 MiB of text beside its own code, so that there is something to remap."""
    path, source = GENERATED / f"probe-{kind}", ROOT / "tests" / "programs" / "probe.c"
    with one_builder():
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            text = GENERATED / f"probe-{kind}.s"
            text.write_text(bigtext.assembly(8))
            subprocess.run([*KINDS[kind], "-O1", "-w", "-o", path, source, text], check=True)
            os.sync()  # the file backing leaves dirty pages alone
    return str(path)


def lines_of(text, pid):
    """The output with the process's own PID made a word, and pipes made one."""
    text = re.sub(r"pipe:\[\d+\]", "pipe", text)
    text = re.sub(r"status SigQ:\t\d+", "status SigQ", text)
    # The size of a page, of a mapping, an offset in a file or its flags may be the same number.
    return [re.sub(rf"\b{pid}\b", "PID", line) if OF_PIDS.match(line) else line for line in text.splitlines()]


def run_probe(words, **options):
    process = Process([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, err, lines_of(out, process.pid)
