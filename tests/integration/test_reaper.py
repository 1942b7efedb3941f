# SPDX-License-Identifier: Apache-2.0
"""Who reaps a tracer: PID 1 and subreapers that wait for the children they know only, and those that reap whatever comes."""
import os
import shutil
import subprocess
import sys

import pytest

from lib.confinement import cgroup, joining
from lib.policies import policy_with
from lib.process import children_of, status_of, wait_for
from lib.report import read_report

# Runs a command ten times, says what has become of processes meanwhile, and reaps nothing but what it has started itself.
RUNS = r"""
import ctypes, os, pathlib, subprocess, sys, time
how, words = sys.argv[1], sys.argv[2:]
if how == "subreaper":
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
def processes():
    found = set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        pid, name, state = text.split(" ", 1)[0], text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2]
        if how != "subreaper" or int(text[text.rindex(")") + 2:].split()[1]) == os.getpid():
            found.add((pid, name, state))
    return found
before = processes()
for _ in range(10):
    assert subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0
end = time.monotonic() + 20
while (left := processes() - before) and any(state != "Z" for _, _, state in left) and time.monotonic() < end:
    time.sleep(0.01)
print(*sorted(f"{name} {state}" for _, name, state in left), sep="\n", end="")
"""

COMMANDS = {
    "a large program": ["{big}"],
    "a shell that executes it": ["sh", "-c", "exec {big}"],
    "a shell that runs it": ["sh", "-c", "{big}; true"],
    "true": ["true"],
    "ls": ["ls", "/dev/null"],
    "a script": ["{script}"],
    "timeout": ["timeout", "20", "{big}"],
}


def commands(big, folder):
    script = folder / "script"
    script.write_text(f"#!/bin/sh\n{big}\nexec {big}\n")
    script.chmod(0o755)
    return {name: [word.format(big=big, script=script) for word in words] for name, words in COMMANDS.items()}


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("how", ["PID 1", "subreaper"])
def test_nobody_reaps(hugexec_command, bigtext, tmp_path, how, name):
    """No zombie, and no process, is left of ten launches."""
    words, report = hugexec_command(commands(bigtext(4), tmp_path)[name], policy_with(), "thp")
    space = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"] if how == "PID 1" else []
    done = subprocess.run([*space, sys.executable, "-c", RUNS, how, *words], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    said = {(line["outcome"], line["reason"] and line["reason"].split(":")[0]) for line in read_report(report)}
    assert said == {{"a large program": ("remapped", None), "true": ("skipped", "no-huge-slot"), "ls": ("skipped", "no-huge-slot")}
                    .get(name, ("skipped", "no-reaper"))}


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("name", ["a shell that executes it", "a shell that runs it", "a script", "timeout"])
def test_pid_1_reaps(hugexec_command, bigtext, tmp_path, name):
    """Below a shell as PID 1 wrappers are followed, and it reaps their tracers."""
    words, report = hugexec_command(commands(bigtext(4), tmp_path)[name], policy_with(), "thp")
    script = ('n=0; while [ $n -lt 10 ]; do "$@" || exit; n=$((n+1)); done; '
              'left() { cat /proc/[0-9]*/stat 2>/dev/null | grep hugexec; }; '
              'while [ $n -lt 600 ] && left >/dev/null; do sleep 0.1; n=$((n+1)); done; left; true')
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", script, "sh", *words],
                          capture_output=True, text=True, check=False, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "hugexec" not in done.stdout, done.stdout
    outcomes = [line["outcome"] for line in read_report(report)]
    assert outcomes == {"a shell that runs it": ["skipped"], "timeout": ["remapped", "skipped"]}.get(name, ["remapped"]) * 10


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("init", ["tini", "dumb-init", "catatonit"])
def test_below_an_init(hugexec_command, bigtext, tmp_path, init):
    """Init processes wait for SIGCHLD in ways of their own."""
    if not shutil.which(init):
        pytest.skip(f"{init} is not installed")
    words, report = hugexec_command(["sh", "-c", f"{bigtext(4)}; exec {bigtext(4)}"], policy_with(), "thp")
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", init, "--", *words],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done
    assert read_report(report)[0]["outcome"] == "remapped"


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_a_wrapper_that_is_pid_1_has_no_time_limit(hugexec_command, bigtext, tmp_path):
    """An entry point takes as long as it takes: its tracer is its child, which would stay its zombie if it left."""
    words, report = hugexec_command(["sh", "-c", f"sleep 2; exec {bigtext(4)} sleep"], policy_with(follow_timeout=1), "thp")
    with subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() and process.stdout.readline() == "ready\n"
            (pid,) = children_of(process.pid)
            wait_for(lambda: status_of(pid)["TracerPid"] == "0")
            assert children_of(pid) == []
        finally:
            process.kill()
    assert [line["outcome"] for line in read_report(report)] == ["skipped", "remapped"]  # sleep, and the program


@pytest.mark.parametrize("attribute", ["ignored", "blocked"])
def test_sigchld(hugexec_command, bigtext, attribute):
    """Ignored, it is no reason not to be traced; blocked, it would stay pending when the tracer ends. No process is left of it."""
    words, report = hugexec_command([bigtext(4), "sleep"], policy_with(), "thp")
    option = "--ignore-signal=CHLD" if attribute == "ignored" else "--block-signal=CHLD"
    with subprocess.Popen(["env", option, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() and process.stdout.readline() == "ready\n"
            status = status_of(process.pid)
            assert (status["TracerPid"], status["ShdPnd"].strip("0"), status["SigPnd"].strip("0")) == ("0", "", "")
            wait_for(lambda: children_of(process.pid) == [])
        finally:
            process.kill()
    (line,) = read_report(report)
    assert (line["outcome"], (line["reason"] or "").split(":")[0]) == (("remapped", "") if attribute == "ignored" else ("failed", "sigchld-blocked"))


@pytest.mark.skipif(os.geteuid() != 0, reason="a cgroup takes root")
def test_gone_before_the_wrapper(hugexec_command, tmp_path):
    """When the parent hears that a wrapper has ended, nobody of ours is left in its cgroup: as a service manager looks."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    words, _ = hugexec_command([script], policy_with(), "thp")
    with cgroup("pids", {}) as procs:
        for _ in range(100):
            fd = os.open(procs, os.O_RDONLY)
            process = subprocess.Popen(words, preexec_fn=joining(procs), stdin=subprocess.DEVNULL)  # pylint: disable=R1732
            status = os.waitpid(process.pid, 0)[1]
            left = os.read(fd, 4096)  # at once: a moment later it would be gone anyhow
            process.returncode = os.waitstatus_to_exitcode(status)
            os.close(fd)
            assert (process.returncode, left) == (0, b"")
