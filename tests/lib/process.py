# SPDX-License-Identifier: Apache-2.0
"""Processes that tests start, wait for and find again."""
import contextlib
import os
import pathlib
import subprocess
import time

from lib.started import NotedPopen

# Before the words of a command: it does not outlive the test's process, however that ends.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Process(NotedPopen):
    """
    A started program that never outlives its test: ended where its block is left by a failed assertion (Popen's own
    __exit__ would wait for it for ever), and when the test is over.
    """
    started = []

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        Process.started.append(self)

    def __exit__(self, kind, value, traceback):
        if kind and self.poll() is None:
            self.kill()
        super().__exit__(kind, value, traceback)


def end_processes():
    """End whatever a test has left running, and close its pipes."""
    while Process.started:
        process = Process.started.pop()
        if process.returncode is None and process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def without_wrapping(environment=None):
    """ENVIRONMENT (this process's) in which hugexecctl writes lines as long as they are; a test of its screens asks for another one."""
    return {"COLUMNS": "100000", **(os.environ if environment is None else environment)}


def run(command, **options):
    """Run COMMAND to its end and keep what it prints."""
    options["env"] = without_wrapping(options.get("env"))
    options.setdefault("timeout", 120)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


@contextlib.contextmanager
def at_rest(command):
    """Run COMMAND, which must be at rest in sleep or read soon; yields its Popen."""
    process = Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=120, what="the condition", process=None):
    """The first true value of CONDITION (OSError: not yet); fails if PROCESS ends before, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            value = condition()
            if value:
                return value
        assert not process or process.poll() is None, f"ended early with {process.returncode}"
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def status_of(pid):
    """/proc/PID/status as a dict."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def marked(mark):
    """PIDs of processes that were started with MARK in their environment."""
    pids = []
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes():
                pids.append(int(environ.parent.name))
    return pids
