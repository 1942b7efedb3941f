# SPDX-License-Identifier: Apache-2.0
"""tests/programs/busy.c, which is at work while hugexecctl attaches to it."""
import contextlib
import os
import re
import signal
import subprocess

from lib.process import Process, status_of
from lib.programs import GENERATED, one_builder
from lib.surroundings import ROOT
from programs import bigtext

LINKED = {"library": ("-fPIC",), "pie": ("-pie", "-fPIE"), "fixed": ("-no-pie",), "static": ("-static", "-no-pie")}


def build_busy(how="pie"):
    """Its path, with 8 MiB of text, linked in one way or another."""
    path, source = GENERATED / f"busy-{how}", ROOT / "tests/programs/busy.c"
    with one_builder():
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            (GENERATED / "busy.s").write_text(bigtext.assembly(8))
            text = [GENERATED / "busy.s"]
            if how == "library":
                subprocess.run(["cc", "-shared", "-Wl,-soname,libbusy.so", "-o", GENERATED / "libbusy.so", *text], check=True)
                text = [GENERATED / "libbusy.so", "-Wl,-rpath,$ORIGIN"]
            subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-pthread", *LINKED[how], "-o", path, source, *text], check=True)
            os.sync()
    return str(path)


@contextlib.contextmanager
def running(words, **options):
    """Its Popen, when it has said that it is ready."""
    with Process(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as process:
        for line in process.stdout:
            if line == "ready\n":
                break
        yield process
        process.kill()


def end_well(process):
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and said.startswith("ok: "), said
    return dict(re.findall(r"(\w+) (\d+)", said))


def tracers_of(pid):
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # threads come and go
            found.add(status_of(task)["TracerPid"])
    return found
