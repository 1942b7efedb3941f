# SPDX-License-Identifier: Apache-2.0
"""Whoever starts hugexec sees one process that becomes the workload: same PID, nothing left, privileges kept."""
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

from lib.machine import take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, children_of, marked, status_of, wait_for
from lib.report import read_report
from lib.sanitized import NOT_SANITIZED
from lib.smaps import huge_text_bytes, smaps
from lib.surroundings import ROOT
from programs import bigtext as bigtext_generator

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="this takes root")
READY = ["ready\n"]


@pytest.fixture
def sleeping(hugexec_command, bigtext, mark):
    """Start a sleeping program under hugexec after PREFIX; (Popen, report path) once it is ready."""
    started = []

    def start(prefix=(), policy=None, backing="thp", **options):
        words, report = hugexec_command([bigtext(4), "sleep"], policy, backing)
        process = Process([*prefix, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "MARK": mark}, **options)
        started.append(process)
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[1:] == READY
        return process, report

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_for(lambda: not marked(mark))


def check_alone(pid):
    """No tracer, no child, not even a dead one; no descriptor of hugexec's."""
    status = status_of(pid)
    assert status["TracerPid"] == "0"
    assert children_of(pid) == []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
        assert "memfd" not in link and "bigtext" not in link and not link.endswith("report-1.json"), link
    assert huge_text_bytes(pid) > 0


@pytest.mark.parametrize("backing", ["file", "thp"])
@pytest.mark.parametrize("libraries", [False, True])
def test_nothing_stays_behind(sleeping, mark, backing, libraries):
    process, report = sleeping(policy=policy_with(libraries=libraries), backing=backing)
    assert read_report(report)[0]["pid"] == process.pid
    check_alone(process.pid)
    assert marked(mark) == [process.pid]


def test_new_session(sleeping):
    process, _ = sleeping(start_new_session=True)
    check_alone(process.pid)
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid


def test_setsid(hugexec_command, bigtext, mark):
    """setsid(1) forks and does not wait: the workload belongs to whoever reaps orphans."""
    words, report = hugexec_command([bigtext(4), "sleep"], backing="thp")
    subprocess.run(["setsid", "--fork", *words], check=True, env={**os.environ, "MARK": mark}, stdout=subprocess.DEVNULL)
    wait_for(lambda: read_report(report))
    pid = read_report(report)[0]["pid"]
    wait_for(lambda: status_of(pid)["TracerPid"] == "0" and not children_of(pid))  # who has been let go reaps its tracer, then runs
    check_alone(pid)
    assert marked(mark) == [pid]
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not marked(mark))


def test_parent_that_waits_for_its_own_child_only(sleeping):
    """wait(2) of the parent, also with __WALL, tells of one child; and it gets one SIGCHLD."""
    program = """
import os, signal, subprocess, sys
caught = []
signal.signal(signal.SIGCHLD, lambda *_: caught.append(1))
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = []
while True:
    try:
        seen.append(os.waitpid(-1, 0x40000000))
    except ChildProcessError:
        break
print(seen == [(pid, 9 << 8)], len(caught))
"""
    process, _ = sleeping()
    words = [process.args[0], process.args[1], "--backing=thp", "--", process.args[-2], "exit", "9"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True 1"


def test_parent_that_ignores_children(hugexec_command, bigtext, mark):
    """SIGCHLD ignored is inherited: the tracer still gets its work done, and the workload's own is as before."""
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    done = subprocess.run(["env", "--ignore-signal=CHLD", *words], capture_output=True, check=False,
                          env={**os.environ, "MARK": mark})
    assert done.returncode == 9 and read_report(report)[0]["outcome"] == "remapped"
    assert marked(mark) == []


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell(hugexec_command, bigtext, shell):
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    script = '"$@"; echo one $?; "$@" | cat; "$@" & wait $!; echo three $?'
    done = subprocess.run([shell, "-c", script, shell, *words], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("bigtext:")]
    assert lines == ["one 9", "three 9"] and done.stderr == ""
    assert [line["outcome"] for line in read_report(report)] == ["remapped"] * 3


@ROOT_ONLY
@pytest.mark.parametrize("policy", [policy_with(), policy_with(libraries=True), policy_with(min_text="1G", follow_timeout=1)],
                         ids=["remapped", "libraries", "skipped"])
def test_pid_1_of_a_pid_namespace(hugexec_command, bigtext, mark, policy):
    """The workload is PID 1: nobody else there could reap the tracer."""
    words, report = hugexec_command([bigtext(4), "sleep"], policy, backing="thp")
    unshare = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    process = Process([*unshare, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "MARK": mark})
    assert [process.stdout.readline() for _ in range(2)][1:] == READY
    pid = int(children_of(process.pid)[0])
    wait_for(lambda: read_report(report))
    wait_for(lambda: status_of(pid)["TracerPid"] == "0")
    assert read_report(report)[0]["pid"] == 1
    if read_report(report)[0]["outcome"] == "remapped":
        check_alone(pid)
    assert {other for other in marked(mark) if status_of(other)["State"][0] != "Z"} == {process.pid, pid}
    os.kill(pid, signal.SIGKILL)
    assert process.wait(20) != 0
    process.stdout.close()
    wait_for(lambda: not marked(mark))


@ROOT_ONLY
def test_exit_status_of_pid_1(hugexec_command, bigtext):
    words, _ = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    assert subprocess.run(["unshare", "--fork", "--pid", "--mount-proc", *words], stdout=subprocess.DEVNULL,
                          check=False).returncode == 9


def read_terminal(fd, until):
    text, deadline = b"", time.monotonic() + 120
    while until not in text and time.monotonic() < deadline:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            text += os.read(fd, 4096)
        except OSError:
            break
    return text.decode(errors="replace")


@contextlib.contextmanager
def interactive_shell():
    """bash in a terminal of its own: its PID, and the terminal's other end. Its jobs end with it."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["PS1"] = "prompt> "
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script starts with "&"
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        yield pid, fd
    finally:
        jobs = set(children_of(pid))
        for job in {pid, *map(int, jobs)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(job, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


def test_job_control(hugexec_command, bigtext):
    """In an interactive shell: ^Z stops it, fg goes on, ^C ends it; the terminal is the workload's."""
    words, _ = hugexec_command([bigtext(4), "sleep"], backing="thp")
    with interactive_shell() as (pid, fd):
        read_terminal(fd, b"prompt> ")
        os.write(fd, " ".join(words).encode() + b"\n")
        assert "ready" in read_terminal(fd, b"ready\r\n")
        os.write(fd, b"\x1a")
        assert "Stopped" in read_terminal(fd, b"prompt> ")
        os.write(fd, b"fg\n")
        read_terminal(fd, b"sleep\r\n")
        wait_for(lambda: os.tcgetpgrp(fd) != pid)  # the terminal is the workload's again
        time.sleep(0.2)
        os.write(fd, b"\x03")
        read_terminal(fd, b"prompt> ")
        os.write(fd, b"echo status $?\n")
        assert "status 130" in read_terminal(fd, b"status 130")


def test_pipes_are_the_workloads_alone(hugexec_command, bigtext, tmp_path):
    """A pipe's reader sees its end as soon as the workload has closed it, while the tracer may still be about."""
    script = tmp_path / "closes"
    script.write_text("#!/bin/sh\nexec >&- 2>&-\nsleep 1000\n")
    script.chmod(0o755)
    words, _ = hugexec_command([script], policy_with(min_text="1G", follow_timeout=1000))
    process = Process(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    assert select.select([process.stdout], [], [], 120)[0], "somebody else holds the pipe"
    assert process.stdout.read() == b"" and process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)  # the script and what it waits for
    process.wait()
    process.stdout.close()


REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "flags", "mxcsr", "x87"]
# In which the ABI promises nothing to a new program: what its waiting for the tracer has left there (tracee.h).
OF_LAST_CALL = {"rdi", "rsi", "r10"}
# Which exec leaves 0, and ld.so does not: what the program's wait has left there (arch/, the entry stub).
CONDITIONS = 0x8d5  # CF, PF, AF, ZF, SF, OF: as the last comparison left them
OF_WAITING = OF_LAST_CALL | {"rax", "rcx", "r8", "r9"}
LINKED = {"static": ["-static"], "dynamic": ["-pie", "-Wl,--no-as-needed"]}


@pytest.mark.parametrize("how", LINKED)
@pytest.mark.parametrize("libraries", [False, True])
def test_registers_at_entry(hugexec_command, tmp_path, how, libraries):
    """The program's first instruction finds every register as without hugexec: after exec, and where ld.so hands over."""
    program, text = tmp_path / "program", tmp_path / "text.s"
    text.write_text(bigtext_generator.assembly(4))
    subprocess.run(["cc", "-nostartfiles", *LINKED[how], "-o", program, ROOT / "tests/programs/registers.s", text], check=True)

    def seen(words):
        done = subprocess.run(["setarch", "-R", *words], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 7, done
        registers = dict(zip(REGISTERS, struct.unpack("<19Q", done.stdout[:152])))
        if waited:
            registers["flags"] &= ~CONDITIONS
        return registers

    waited = libraries and how == "dynamic"
    words, report = hugexec_command([program], policy_with(libraries=libraries), "thp")
    plain, ours = seen([program]), seen(words)
    different = {name: ours[name] for name in REGISTERS if ours[name] != plain[name]}
    assert different.keys() <= (OF_WAITING if waited else OF_LAST_CALL) and plain["rsp"] != 0
    allowed = {2**64 - errno.EFAULT, plain["r12"]}  # no address but the entry point's, which ld.so itself leaves there
    assert all(value < 2**32 or (waited and value in allowed) for value in different.values())
    # Behind a wrapper the tracer is nobody's child, and is not waited for.
    words, behind = hugexec_command(["env", program], policy_with(libraries=libraries), "thp")
    ours, plain = seen(words), seen(["env", program])
    assert {name for name in REGISTERS if ours[name] != plain[name]} <= (OF_WAITING if waited else set())
    assert [read_report(path)[-1]["outcome"] for path in (report, behind)] == ["remapped"] * 2
    # PID 1 is the parent of its orphans, so it reaps the tracer where ld.so hands over, too.
    if os.geteuid() == 0:
        first = ["unshare", "--fork", "--pid", "--mount-proc"]
        words, report = hugexec_command([program], policy_with(libraries=libraries), "thp")
        ours, plain = seen([*first, *words]), seen([*first, program])
        assert {name for name in REGISTERS if ours[name] != plain[name]} <= (OF_WAITING if waited else OF_LAST_CALL)
        assert read_report(report)[-1]["outcome"] == "remapped"


AGENT = """
#include <pthread.h>
#include <stdlib.h>
static void *work(void *unused)
{
	for (;;)
		free(malloc(64 << 10));
	return unused;
}
__attribute__((constructor)) static void begin(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, work, NULL);
}
"""


@NOT_SANITIZED
def test_preloaded_library_with_a_thread(hugexec_command, bigtext, tmp_path):
    """Whose locks a copy of the process would have for ever: no such copy is made, and the program runs."""
    (tmp_path / "agent.c").write_text(AGENT)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-pthread", "-fno-builtin", "-o", "agent.so", "agent.c"], cwd=tmp_path, check=True)
    for _ in range(5):
        words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(), "thp")
        done = subprocess.run(words, capture_output=True, check=False, timeout=120, env={**os.environ, "LD_PRELOAD": f"{tmp_path}/agent.so"})
        assert done.returncode == 9
        assert read_report(report)[0]["reason"].startswith("preloaded-threads: ")


# Privileges


def privileged_copy(bigtext, folder, owner, mode):
    copy = folder / "privileged"
    shutil.copy(bigtext(4, "static", ("cc", "-static")), copy)
    os.chown(copy, *owner)
    os.chmod(copy, mode)
    if os.statvfs(copy).f_flag & os.ST_NOSUID:
        pytest.skip("the test folder's filesystem is mounted nosuid")
    return copy


PRIVILEGED = {
    "set-uid root": ((0, 65534), 0o4755, None),
    "set-uid another": ((1, 65534), 0o4755, None),
    "set-gid": ((0, 1), 0o2755, None),
    "set-uid, unreadable": ((0, 65534), 0o4711, None),
    "file capability": ((0, 0), 0o755, "cap_net_bind_service=ep"),
}


def test_privileged_children(hugexec_command, bigtext, nobody, public_folder):
    """A user's shell, of which a set-uid program is executed again and again: none is traced while it does."""
    copy = privileged_copy(bigtext, public_folder, (0, 65534), 0o4755)
    script = f"for i in $(seq 60); do {copy} ids; done"
    words, report = hugexec_command(["sh", "-c", script], policy_with(follow="fork"), "thp", ["-q"])
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
    assert done.stdout.count("uid 65534 0 ") == 60
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["unprivileged-wrapper"]


@pytest.mark.parametrize("name", PRIVILEGED)
@pytest.mark.parametrize("way", ["direct", "through a script", "through exec"])
@pytest.mark.parametrize("who", ["root", "unprivileged"])
def test_privileged_program(hugexec_command, bigtext, nobody, public_folder, mark, name, way, who):
    """Whoever starts it: set-uid, set-gid and capabilities of the file are as without hugexec."""
    owner, mode, capability = PRIVILEGED[name]
    copy = privileged_copy(bigtext, public_folder, owner, mode)
    if capability:
        subprocess.run(["/usr/sbin/setcap", capability, copy], check=True)
    command = [str(copy), "ids"]
    if way == "through a script":
        script = public_folder / "script"
        script.write_text(f"#!/bin/sh\n{copy} ids\n")
        script.chmod(0o755)
        command = [str(script)]
    elif way == "through exec":
        command = ["sh", "-c", f"exec {copy} ids"]
    prefix = nobody if who == "unprivileged" else []
    words, report = hugexec_command(command, policy_with(follow="fork"), "thp")
    report.touch()
    report.chmod(0o666)
    environment = {**os.environ, "MARK": mark}
    plain = subprocess.run([*prefix, *command], capture_output=True, text=True, check=True, env=environment)
    ours = subprocess.run([*prefix, *words], capture_output=True, text=True, check=False, env=environment)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)
    assert "TracerPid:\t0" in plain.stdout
    if who == "root":
        assert [line["outcome"] for line in read_report(report) if line["exe"] == str(copy)] == ["remapped"]
    if who == "unprivileged":
        about = [(line["outcome"], line["reason"].split(";")[0]) for line in read_report(report)]
        assert len(about) == 1 and about[0][0] == "skipped"
        assert about[0][1].startswith("privileged-program: tracing it would withhold its privileges" if way == "direct"
                                      else "unprivileged-wrapper: ")
        granted = "uid 65534 65534 gid 65534 65534" not in plain.stdout or "CapEff:\t0000000000000400" in plain.stdout
        assert granted, "the test shows nothing: the program got no privilege"
    wait_for(lambda: not marked(mark))


def test_unprivileged_user(hugexec_command, bigtext, nobody, public_folder):
    """No privilege is needed for an ordinary program."""
    copy = public_folder / "program"
    shutil.copy(bigtext(4), copy)
    os.sync()  # the file backing can do nothing about pages that are not written yet
    for backing in ("file", "thp"):
        words, report = hugexec_command([copy, "exit", "9"], backing=backing)
        report.touch()
        report.chmod(0o666)
        done = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 9
        assert read_report(report)[0]["outcome"] == "remapped", read_report(report)[0]["reason"]




@pytest.mark.parametrize("way", ["direct", "through exec", "interpreter"])
def test_unreadable_program(hugexec_command, hugexecctl, bigtext, nobody, public_folder, way):
    """A program that may be executed but not read stays unread: it is left alone, and runs; it has no privileges to lose."""
    copy = privileged_copy(bigtext, public_folder, (0, 0), 0o711)
    command = [str(copy), "exit", "9"]
    if way == "interpreter":
        script = public_folder / "script"
        script.write_text(f"#!{copy} exit\n")
        script.chmod(0o755)
        command = [str(script)]
    policy = policy_with()
    words, report = hugexec_command(command if way != "through exec" else ["sh", "-c", f"exec {copy} exit 9"], policy, "thp")
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
    assert done.returncode == subprocess.run([*nobody, *command], capture_output=True, check=False).returncode
    line = read_report(report)[-1]
    word, _, detail = line["reason"].partition(": ")
    if way == "through exec":
        assert (line["outcome"], word) == ("skipped", "unprivileged-wrapper")
        return
    assert (line["outcome"], word, line["exe"]) == ("skipped", "privileged-program", command[0])
    assert "executed but not read" in detail and "privileges" not in detail
    explained = subprocess.run([*nobody, hugexecctl, "explain", words[1], "--json", command[0]], capture_output=True, check=True)
    assert json.loads(explained.stdout)["reason"] == line["reason"]


def test_memory_protection(sleeping):
    """Never writable and executable, and nothing that was writable is executable now."""
    process, _ = sleeping()
    maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    assert not [line for line in maps if "w" in line.split()[1] and "x" in line.split()[1]]


@ROOT_ONLY
@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_copy_is_sealed(sleeping, backing):
    """A private copy's file can never be written, cut or grown again, by whatever way somebody gets hold of it."""
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        process, _ = sleeping(backing=backing)
        copies = [entry for entry in smaps(process.pid) if "memfd:" in entry["path"]]
        for entry in copies:
            fd = os.open(f"/proc/{process.pid}/map_files/{entry['start']:x}-{entry['end']:x}", os.O_RDONLY)
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            os.close(fd)
            assert seals & 15 == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            assert entry["perms"] == "r-xp"
        assert copies
        process.kill()
        process.wait(20)


@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_memory_deny_write_execute(hugexec_command, bigtext, backing):
    """PR_SET_MDWE, Linux 6.3: the kernel itself refuses what is writable and executable, at once or one after the other."""
    libc = ctypes.CDLL(None)
    if libc.prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel has no PR_SET_MDWE")
    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(libraries=True), backing)
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        done = subprocess.run(words, capture_output=True, check=False, preexec_fn=lambda: libc.prctl(65, 1, 0, 0, 0))
    line = read_report(report)[0]
    assert (done.returncode, line["outcome"], line["backing"]) == (9, "remapped", backing), line


@ROOT_ONLY
@pytest.mark.parametrize("level", [0, 1, 2])
def test_memfd_noexec(hugexec_command, bigtext, level):
    """vm.memfd_noexec (Linux 6.3), in a PID namespace whose own it is: at no level does it keep text from being mapped."""
    switch = "/proc/sys/vm/memfd_noexec"
    if not os.path.exists(switch):
        pytest.skip("this kernel has no vm.memfd_noexec")
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    script = f'echo {level} >{switch} && "$@"; exit $?'
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script, "sh", *words],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 9, done.stderr
    assert read_report(report)[0]["outcome"] == "remapped"


@pytest.mark.parametrize("kind", ["memfd", "deleted"])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_a_program_without_a_name(hugexec_run, bigtext, tmp_path, kind, backing):
    """What is executed as /proc/self/fd/N is a program as any other."""
    path = tmp_path / "gone"
    if kind == "memfd":
        with open(os.memfd_create("program"), "wb") as file:
            file.write(pathlib.Path(bigtext(4)).read_bytes())
            file.flush()
            fd = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
    else:
        shutil.copy(bigtext(4), path)
        os.sync()
        fd = os.open(path, os.O_RDONLY)
        path.unlink()
    try:
        done, report = hugexec_run([f"/proc/self/fd/{fd}", "exit", "9"], backing=backing, pass_fds=[fd])
    finally:
        os.close(fd)
    assert done.returncode == 9
    assert [(line["exe"], line["outcome"]) for line in report] == [
        ("/memfd:program" if kind == "memfd" else str(path), "remapped")]
