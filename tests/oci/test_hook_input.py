# SPDX-License-Identifier: Apache-2.0
"""What hugexec-oci-hook is given may be anything: a clear word, status 0, in bounded time and memory."""
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import pytest
from containers import HOOK, OPTED_IN, big, policy, tracers
from mount_sandbox import MountSandbox

from lib.process import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
MEMORY = 64 << 20


@pytest.fixture
def hook(tmp_path):
    """Call the hook with INPUT (bytes) as its standard input: CompletedProcess, and its report lines."""
    sandboxes = []

    def call(text, rules=None, stdin=None, before=()):
        if not sandboxes:
            sandboxes.append(MountSandbox(tmp_path / "sandbox", {"hugexec/policy.json": rules or policy()}))
            call.host = sandboxes[0]
        report = tmp_path / "report.json"
        done = subprocess.run(sandboxes[0].inside([*before, HOOK, f"--report={report}", "createRuntime"]), capture_output=True, timeout=60,
                              check=False, **({"stdin": stdin} if stdin else {"input": text}),
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)))
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        return done, lines

    yield call
    for sandbox in sandboxes:
        sandbox.close()
    wait_for(lambda: not tracers(), what="all tracers to be gone")


@pytest.fixture
def contained():
    """A process in a mount namespace of its own, as a container's init is."""
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 1000"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def test_switched_off_for_the_host(hook, contained):
    """As long as /run/hugexec/disabled is there, the hook tells of nobody, and traces nobody."""
    text = json.dumps(state(contained)).encode()
    done, lines = hook(text, before=["sh", "-c", 'mkdir -p /run/hugexec && touch /run/hugexec/disabled && exec "$@"', "sh"])
    assert (done.returncode, done.stderr, tracers()) == (0, b"", []), lines
    hook.host.run(["rm", "/run/hugexec/disabled"], check=True)
    assert hook(text)[0].returncode == 0 and tracers()


def state(pid, bundle="/nowhere", **changes):
    return {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": pid, "bundle": str(bundle),
            "annotations": OPTED_IN, **changes}


def without(key, pid=2):
    return {name: value for name, value in state(pid).items() if name != key}


BAD = {
    "empty": b"",
    "not JSON": b"hello",
    "cut": json.dumps(state(2)).encode()[:-5],
    "an array": b"[]",
    "NUL": b"{\0}",
    "not UTF-8": b'{"id": "\xff"}',
    "deep": b"[" * 100000,
    "twice": b'{"id": "a", "id": "b"}',
    **{f"no {key}": json.dumps(without(key)).encode() for key in ("id", "status", "pid", "bundle")},
    "long id": json.dumps(state(2, id="x" * 5000)).encode(),
    "strange status": json.dumps(state(2, status="dreaming")).encode(),
    "relative bundle": json.dumps(state(2, bundle="here")).encode(),
    "annotations of another kind": json.dumps(state(2, annotations={"a": 1})).encode(),
    **{f"pid {pid}": json.dumps(state(pid)).encode() for pid in (0, 1, -1, 1 << 40, 1.5, "2", None)},
    "pid of nobody": json.dumps(state(4194303)).encode(),
    "running": json.dumps(state(2, status="running")).encode(),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_state(hook, name):
    done, lines = hook(BAD[name])
    assert done.returncode == 0 and done.stdout == b""
    assert done.stderr.startswith(b"hugexec-oci-hook: ") and done.stderr.count(b"\n") == 1
    line, = lines
    assert line["outcome"] == "failed" and line["via"] == "hook"
    assert line["reason"].split(":")[0] in ("oci-state", "tracee-gone", "ptrace-refused")


def test_in_no_container(hook):
    """A process in the hook's own mount namespace."""
    with open("/dev/null", "rb") as nothing:
        hook(None, stdin=nothing)
    done, lines = hook(json.dumps(state(hook.host.keeper.pid)).encode())
    assert done.returncode == 0 and lines[-1]["reason"].endswith("is in no container")


def test_endless_state(hook):
    """More than anybody needs: refused without reading it to its end, which there is not."""
    with open("/dev/zero", "rb") as endless:
        done, lines = hook(None, stdin=endless)
    assert done.returncode == 0 and "more than" in lines[0]["reason"]


def test_silent_runtime(hook):
    """Standard input that stays open, with nothing in it."""
    reader, writer = os.pipe()
    try:
        done, lines = hook(None, stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 0 and "did not end" in lines[0]["reason"]


BUNDLES = {
    "missing": lambda folder: folder / "nowhere",
    "without config.json": lambda folder: folder,
    "not JSON": lambda folder: (folder / "config.json").write_text("{") and folder,
    "no strings": lambda folder: (folder / "config.json").write_text('{"annotations":{"a":1}}') and folder,
    "too many": lambda folder: (folder / "config.json").write_text(json.dumps({"annotations": {str(i): "" for i in range(1025)}})) and folder,
    "100 MiB": lambda folder: (folder / "config.json").write_bytes(b" " * (100 << 20)) and folder,
    "FIFO": lambda folder: os.mkfifo(folder / "config.json") or folder,
    "link": lambda folder: os.symlink("/etc/passwd", folder / "config.json") or folder,
}


@pytest.mark.parametrize("name", BUNDLES)
def test_bad_bundle(hook, contained, tmp_path, name):
    """It would have the annotations that the state lacks."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    text = state(contained, BUNDLES[name](folder))
    del text["annotations"]
    done, lines = hook(json.dumps(text).encode())
    assert done.returncode == 0 and lines[0]["outcome"] == "failed"
    assert lines[0]["reason"].split(":")[0] in ("bundle", "config")
    assert tracers() == []


def test_annotations_of_the_bundle(hook, contained, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"annotations": OPTED_IN}))
    text = state(contained, tmp_path)
    del text["annotations"]
    done, lines = hook(json.dumps(text).encode())
    assert (done.returncode, done.stderr, lines) == (0, b"", [])
    assert len(tracers()) == 1
    os.kill(contained, 9)


@pytest.mark.parametrize("reader", ["exit 1", "exec sleep 1000", "head -c 100000 /dev/urandom >&4", None])
def test_a_reader_that_does_not_answer(hook, contained, tmp_path, reader, monkeypatch):
    """The annotations that the state lacks stay unknown: that is told, in time, and the container goes on."""
    folder = tmp_path / "installed"
    folder.mkdir()
    shutil.copy(HOOK, folder)
    if reader:
        (folder / "hugexec-bundle-reader").write_text(f"#!/bin/sh\n{reader}\n")
        (folder / "hugexec-bundle-reader").chmod(0o755)
    monkeypatch.setattr(sys.modules[__name__], "HOOK", folder / HOOK.name)
    (tmp_path / "config.json").write_text(json.dumps({"annotations": OPTED_IN}))
    text = state(contained, tmp_path)
    del text["annotations"]
    done, lines = hook(json.dumps(text).encode())
    assert done.returncode == 0 and lines[0]["outcome"] == "failed"
    assert lines[0]["reason"].startswith("bundle-reader: ")
    assert tracers() == []


def test_on_error_fail(hook):
    done, _ = hook(b"{}", rules={**policy(), "settings": {"on_error": "fail"}})
    assert done.returncode == 1


def test_broken_policy(hook):
    done, lines = hook(json.dumps(state(2)).encode(), rules="{")
    assert done.returncode == 0 and lines[0]["reason"].startswith("policy-invalid")


def test_no_rule_about_containers(hook):
    """Nothing to do, so nothing is looked at."""
    done, lines = hook(json.dumps(state(2)).encode(), rules={"version": 1, "rules": [{"match": {"via": "shim"}}]})
    assert (done.returncode, done.stderr, lines) == (0, b"", [])


def test_traced_by_somebody_else(hook, contained):
    """An init that has a tracer already: refused, and left alone."""
    with subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-p", str(contained)], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert "attached" in strace.stderr.readline()
            done, lines = hook(json.dumps(state(contained)).encode())
        finally:
            strace.kill()
    assert done.returncode == 0 and lines[0]["reason"].startswith("ptrace-refused")
    assert "State:\tZ" not in pathlib.Path(f"/proc/{contained}/status").read_text()


def test_pid_of_another_user(hook, contained):
    """Who may not trace a process cannot have it traced."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done, _ = hook(json.dumps(state(contained)).encode(), before=nobody)
    assert done.returncode == 0 and b"ptrace-refused" in done.stderr, done.stderr
    assert "TracerPid:\t0\n" in pathlib.Path(f"/proc/{contained}/status").read_text()


@pytest.mark.parametrize("processes", [1, 2])
def test_no_process_for_the_tracer(hook, contained, processes):
    """Neither for the one between, nor for the tracer itself: the same reason."""
    limited = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", f"--nproc={processes}:{processes}"]
    done, _ = hook(json.dumps(state(contained)).encode(), before=limited)
    assert done.returncode == 0 and b"c1: fork: no process for the tracer" in done.stderr, done.stderr


def launched(hook, tmp_path, init, before=lambda pid: ()):
    """The one report about INIT, a command that says "ready" and executes its last word once it is told to."""
    process = subprocess.Popen(init, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        done, _ = hook(json.dumps(state(process.pid)).encode(), rules=policy(backing=["thp"]), before=before(process.pid))
        assert (done.returncode, done.stderr) == (0, b"")
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(20)
    report = tmp_path / "report.json"
    wait_for(lambda: report.exists() and report.read_text().endswith("\n"), what="a report")
    [line] = [json.loads(text) for text in report.read_text().splitlines()]
    return line["outcome"], line["reason"], line["backing"]


def test_in_a_user_namespace(hook, tmp_path):
    """As below a rootless podman: capabilities that do not count outside suspend no filter, and none is in the way."""
    init = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'echo ready; read go; exec "$0" exit 0', big()]
    entered = launched(hook, tmp_path, init, lambda pid: ["nsenter", "--user", "--preserve-credentials", f"--target={pid}"])
    assert entered == ("remapped", None, "thp")


EXECUTE = """import os, sys, threading
def execute():
    if {waits}: sys.stdin.readline()
    os.execv(sys.argv[1], [sys.argv[1], "exit", "0"])
thread = threading.Thread(target=execute)
if {waits}: thread.start()
print("ready", flush=True)
if not {waits}: sys.stdin.readline(); thread.start()
thread.join()
"""


@pytest.mark.parametrize("waits", [True, False], ids=["thread is there", "thread starts later"])
def test_any_thread_may_execute(hook, tmp_path, waits):
    """Real runtimes execute from the main thread mostly; their init has more, and it may be another one."""
    init = ["unshare", "--mount", "/usr/bin/python3", "-c", EXECUTE.format(waits=waits), big()]
    assert launched(hook, tmp_path, init) == ("remapped", None, "thp")


def test_help_fits_a_screen(hook):
    done = subprocess.run([HOOK, "--help"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and len(done.stdout.splitlines()) <= 24 and done.stderr == ""


def test_quick(hook, contained):
    """A runtime waits for its hooks: not much longer than for any program, which is a thousandth of a second."""
    hook(b"{}", rules={"version": 1, "rules": []})
    spent, plain = [], []
    for _ in range(15):
        begin = time.monotonic()
        subprocess.run(hook.host.inside(["/bin/true"]), input=b"", timeout=120, check=True, capture_output=True)
        plain.append(time.monotonic() - begin)
        begin = time.monotonic()
        done = subprocess.run(hook.host.inside([HOOK, "createRuntime"]), input=json.dumps(state(contained)).encode(), timeout=120, check=False,
                              capture_output=True)
        spent.append(time.monotonic() - begin)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert min(spent) < 10 * min(plain)
