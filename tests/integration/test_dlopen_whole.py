# SPDX-License-Identifier: Apache-2.0
"""With coverage "full", a library that the program loads when it runs is on huge pages with the ends of its text, by a plain launch."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lib.busy import tracers_of
from lib.later import Later, ask, others
from lib.policies import policy_with
from lib.process import run, status_of, wait_for

SPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture(name="later")
def later_fixture(public_folder, hugexec_command):
    return Later(public_folder, hugexec_command)


@pytest.fixture(name="environment")
def environment_fixture(mark):
    return {"MARK": mark}


def end_well(process):
    assert process.communicate(timeout=120)[0] == "0 wrong\n" and process.returncode == 0


@pytest.mark.parametrize("threads", [0, 16])
@pytest.mark.parametrize("seconds", [0, 1])
def test_in_place_with_its_ends(later, mark, environment, seconds, threads):
    """Nothing is copied, nobody traces it afterwards, and no process stays."""
    with later.running(threads, environment=environment) as (process, told):
        assert told["reason"] is None and tracers_of(process.pid) == {"0"}
        time.sleep(seconds)
        assert ask(process, "open") == "open right\n"
        wait_for(lambda: later.is_whole(process.pid), process=process)
        wait_for(lambda: not others(mark, process.pid), process=process)
        assert tracers_of(process.pid) == {"0"} and ask(process, "check") == "check right\n"
        end_well(process)


def test_closed_and_opened_again(later, environment):
    """It is waited for once: what it comes to later is right, and in place as far as that comes by itself."""
    with later.running(8, environment=environment) as (process, _):
        for _ in range(40):
            assert [ask(process, "open"), ask(process, "close")] == ["open right\n", "close done\n"]
        assert ask(process, "open") == "open right\n"
        text, huge = later.share(process.pid)
        assert huge > text // 2
        end_well(process)


@pytest.mark.parametrize("settings", [{"coverage": "cheap"}, {"coverage": "full", "libraries": True}])
def test_nobody_stays_for_nothing(later, mark, environment, settings):
    words, _ = later.words(**settings)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout.readline() == "up\n" and not others(mark, process.pid)
        assert ask(process, "open") == "open right\n"
        text, huge = later.share(process.pid)
        assert huge < text and not others(mark, process.pid)
        end_well(process)
    finally:
        process.kill()


def test_stays_no_longer_than_follow_timeout(later, mark, environment):
    with later.running(environment=environment, follow_timeout=1) as (process, _):
        wait_for(lambda: not others(mark, process.pid), process=process)
        assert ask(process, "open") == "open right\n"
        text, huge = later.share(process.pid)
        assert 0 < huge < text
        end_well(process)


def test_holds_nothing_of_the_program(later, mark, environment):
    """While it waits: no file but its own, no terminal, session, folder, signal, and it is no child of the program's or its parent's."""
    with later.running(environment=environment, follow_timeout=600) as (process, _):
        watcher, = others(mark, process.pid)
        wait_for(lambda: pathlib.Path(f"/proc/{watcher}/comm").read_text() == "hugexec-watcher\n")
        wait_for(lambda: len(os.listdir(f"/proc/{watcher}/fd")) == 5)
        files = {os.readlink(f"/proc/{watcher}/fd/{fd}") for fd in os.listdir(f"/proc/{watcher}/fd")}
        assert files == {"/dev/null", "anon_inode:[pidfd]", "anon_inode:inotify"}
        status = status_of(watcher)
        assert int(status["PPid"]) not in (process.pid, os.getpid()) and os.readlink(f"/proc/{watcher}/cwd") == "/"
        assert os.getsid(watcher) == watcher and status["TracerPid"] == "0"
        process.kill()
    wait_for(lambda: not others(mark, 0))


def test_ends_with_a_program_that_ends_at_once(later, mark, environment):
    words, _ = later.words(follow_timeout=600)
    for _ in range(20):
        done = run(words, env={**os.environ, **environment})
        assert (done.stdout, done.stderr, done.returncode) == ("up\n0 wrong\n", "", 0)
    wait_for(lambda: not others(mark, 0))


def test_ends_with_a_program_that_executes_another(later, mark, environment):
    with later.running(4, environment=environment, follow_timeout=600) as (process, _):
        assert others(mark, process.pid)
        process.stdin.write("execute\n")
        process.stdin.flush()
        wait_for(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "cat\n", process=process)
        wait_for(lambda: not others(mark, process.pid), process=process)
        assert ask(process, "x") == "x\n"
        assert tracers_of(process.pid) == {"0"}


def test_holds_no_pipe(later, environment):
    """The program's, or one that the report goes to: `hugexec ... | cat` ends when the program does, or closes it."""
    words, _ = later.words(follow_timeout=600)
    words = [word if not word.startswith("--report=") else "--report=/dev/stdout" for word in words]
    done = run(["sh", "-c", 'echo check | { "$@"; } | cat', "sh", *words], env={**os.environ, **environment}, timeout=100)
    assert done.stdout.endswith("up\ncheck done\n0 wrong\n"), done.stdout
    assert done.returncode == 0


def test_somebody_opens_the_file_again_and_again(later, environment):
    """That tells nothing: then only the clock counts."""
    with later.running(environment=environment, follow_timeout=600) as (process, _):
        for _ in range(5000):
            pathlib.Path(later.library).open("rb").close()
        assert ask(process, "open") == "open right\n"
        wait_for(lambda: later.is_whole(process.pid), process=process)
        end_well(process)


SUBREAPER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
PARENT_REAPS = "import os, signal, subprocess, sys; signal.signal(signal.SIGCHLD, lambda *_: None); sys.exit(subprocess.run(sys.argv[1:]).returncode)"
WITHOUT = {
    "PID 1": (SPACE, "not-awaited: nobody waits for it: the tracer would be a child"),
    "subreaper": ([sys.executable, "-c", SUBREAPER], "not-awaited: nobody waits for it: the tracer would be a child"),
    "child of who reaps": ([*SPACE, sys.executable, "-c", PARENT_REAPS], "not-awaited: nobody waits for it: the program's parent"),
    "under a filter": ([sys.executable, "-c", "import os, seccomp, sys; seccomp.SyscallFilter(seccomp.ALLOW).add_rule; "
                        "rules = seccomp.SyscallFilter(seccomp.ALLOW); rules.add_rule(seccomp.ERRNO(1), 'swapon'); rules.load(); "
                        "os.execvp(sys.argv[1], sys.argv[1:])"], "seccomp: a filter is in force"),
}


@pytest.mark.parametrize("how", WITHOUT)
def test_nobody_stays(later, mark, environment, how):
    """Where a process more could be taken for one of the workload's, or die of a filter; the launch says so."""
    if how == "under a filter":
        pytest.importorskip("seccomp", reason="python3-seccomp is not installed")
    elif how != "subreaper" and os.geteuid() != 0:
        pytest.skip("a PID namespace takes root")
    before, reason = WITHOUT[how]
    with later.running(before=before, environment=environment, follow_timeout=600) as (process, told):
        assert told["reason"].startswith(reason) and "hugexecctl attach" in told["reason"], told["reason"]
        assert ask(process, "open") == "open right\n"
        program, = [pid for pid in others(mark, 0) if os.readlink(f"/proc/{pid}/exe") == later.path]
        assert not [pid for pid in others(mark, program) if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("hugexec")]
        end_well(process)
    wait_for(lambda: not others(mark, 0))


@pytest.fixture(name="cgroup")
def cgroup_fixture():
    """Make a cgroup of this name; taken away in the end."""
    mounted = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    made = []

    def make(name):
        if os.geteuid() != 0 or not mounted:
            pytest.skip("making a cgroup takes root and cgroup2")
        made.append(pathlib.Path(mounted[0]) / name)
        try:
            made[0].mkdir()
        except OSError as error:
            pytest.skip(f"no cgroup can be made: {error}")
        return made[0]

    yield make
    for folder in made:
        wait_for(lambda folder=folder: not folder.exists() or folder.rmdir() is None)


@pytest.mark.parametrize("kind, stays", [("service", False), ("scope", True)])
def test_nobody_stays_in_a_service(later, mark, environment, cgroup, kind, stays):
    """systemd takes a process of its own in the service's cgroup for the main one, if there is only one."""
    folder = cgroup(f"hugexec-test-{os.getpid()}.{kind}")
    before = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', folder]
    with later.running(before=before, environment=environment) as (process, told):
        assert bool(others(mark, process.pid)) == stays and (told["reason"] is None) == stays
        assert stays or told["reason"].startswith("not-awaited: nobody waits for it: systemd could take"), told["reason"]
        assert ask(process, "open") == "open right\n"
        if stays:
            wait_for(lambda: later.is_whole(process.pid), process=process)
        end_well(process)


@pytest.mark.parametrize("hides", [False, True])
def test_as_an_unprivileged_user(later, mark, environment, nobody, hides):
    """Such a tracer may trace its user's programs, but not one that has hidden itself: that goes on as it was."""
    with later.running(before=nobody, environment=environment, follow_timeout=2 if hides else 600) as (process, told):
        assert told["reason"] is None
        if hides:
            assert ask(process, "hide") == "hide done\n"
        assert ask(process, "open") == "open right\n"
        wait_for(lambda: not others(mark, process.pid), process=process)
        assert later.is_whole(process.pid) != hides and tracers_of(process.pid) == {"0"}
        end_well(process)


STEPS = ["awaiting", "awaited", "attached", "pass-opened", "pass-received", "borrowed", "frozen", "frozen-call", "widened"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(steps, later, mark, environment, step):
    """The program goes on with right text, or, where its registers are borrowed, is killed with it."""
    assert step in steps
    with later.running(8, environment={**environment, "HUGEXEC_FAULT": f"kill:{step}"}, follow_timeout=2) as (process, _):
        answer = ask(process, "open")
        wait_for(lambda: not others(mark, process.pid))
        if process.poll() is None and answer:
            assert answer == "open right\n" and tracers_of(process.pid) == {"0"}
            end_well(process)
        else:
            assert process.wait(60) == -signal.SIGKILL and step not in ("awaiting", "awaited", "attached", "frozen")


@contextlib.contextmanager
def stopped_at(later, mark, environment, step):
    """The program, which has 8 threads and opens the library, and the tracer that has stopped at STEP."""
    with later.running(8, environment={**environment, "HUGEXEC_FAULT": f"stop:{step}"}, follow_timeout=600) as (process, _):
        process.stdin.write("open\n")
        process.stdin.flush()
        tracer, = wait_for(lambda: [pid for pid in others(mark, process.pid) if status_of(pid)["State"][0] == "T"])
        try:
            yield process, tracer
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(tracer, signal.SIGKILL)


@pytest.mark.parametrize("step", ["pass-opened", "widened"])
def test_no_thread_runs_meanwhile(steps, later, mark, environment, step):
    """One of them could unmap the library, and have other memory in its place."""
    assert step in steps
    with stopped_at(later, mark, environment, step) as (process, tracer):
        tasks = os.listdir(f"/proc/{process.pid}/task")
        assert len(tasks) == 9 and {status_of(task)["State"][0] for task in tasks} == {"t"}
        os.kill(tracer, signal.SIGCONT)
        assert process.stdout.readline() == "open right\n"
        wait_for(lambda: later.is_whole(process.pid), process=process)
        end_well(process)
    wait_for(lambda: not others(mark, 0))


def test_it_ends_while_it_is_attached_to(steps, later, mark, environment):
    assert "frozen" in steps
    with stopped_at(later, mark, environment, "frozen") as (process, tracer):
        process.kill()
        os.kill(tracer, signal.SIGCONT)
        assert process.wait(60) == -signal.SIGKILL
        wait_for(lambda: not others(mark, 0))


def test_java_says_what_it_says(hugexec_run):
    java = shutil.which("java")
    if not java:
        pytest.skip("no java")
    policy = policy_with(libraries={"prepare": [f"{pathlib.Path(os.path.realpath(java)).parents[1]}/**/libjvm.so"]}, coverage="full", min_text="2M")
    plain = run([java, "-Xshare:auto", "-version"])
    for _ in range(5):
        done, _ = hugexec_run([java, "-Xshare:auto", "-version"], policy, "file,thp")
        assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 0)
        assert re.search("version", done.stderr)
