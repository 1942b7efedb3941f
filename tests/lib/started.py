# SPDX-License-Identifier: Apache-2.0
"""
Which processes this program has started: hugexec leaves files in /tmp that are named by their PIDs (perf-PID.map), and other runs of
the tests, at work beside this one, have such files there, too. Loaded before any process is started.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import time

STARTED = {}  # PID -> when, as files have it
NOTES = os.environ.get("HUGEXEC_STARTED")  # a file of run-checks', for machine_state.py


class NotedPopen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        now = time.time()
        super().__init__(*arguments, **options)
        STARTED[self.pid] = now
        if NOTES:
            with open(NOTES, "a", encoding="ascii") as notes:
                notes.write(f"{self.pid}\n")


def remove_perf_maps():
    """Those of processes that were started since the last call, whatever stands there by their name."""
    while STARTED:
        pid, when = STARTED.popitem()
        path = pathlib.Path(f"/tmp/perf-{pid}.map")
        with contextlib.suppress(OSError):
            if path.lstat().st_ctime < when - 1:
                continue  # of an earlier process of that PID
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


subprocess.Popen = NotedPopen
