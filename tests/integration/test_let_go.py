# SPDX-License-Identifier: Apache-2.0
"""Programs that are no wrappers are let go at their first exec stop: nobody traces them after that, and they are no slower."""
import os
import pathlib
import shutil
import statistics
import subprocess
import time

import pytest

from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.report import read_report
from lib.surroundings import ROOT

SHIPPED = ROOT / "config" / "policy.json"
PYTHON = 'import time; print(open("/proc/self/status").read(), flush=True); time.sleep(60)'


@pytest.fixture(params=["root", "nobody"])
def who(request):
    """Words that run a command as somebody."""
    return [] if request.param == "root" else request.getfixturevalue("nobody")


@pytest.fixture
def watched(hugexec_command, public_folder):
    """A policy by which a tracer looks at every program, and its report."""
    def command(words):
        ours, report = hugexec_command(words, policy_with(max_text="4K"), "thp")
        report.touch()
        report.chmod(0o666)
        return ours, report

    return command


def test_its_first_look(who, watched, hugexec):
    """It finds no tracer, no child and nothing pending, by a policy that looks at it and by the shipped one."""
    ours, report = watched(["/usr/bin/python3", "-c", PYTHON])
    for words in (ours, [hugexec, f"--policy={SHIPPED}", "--", "/usr/bin/python3", "-c", PYTHON]):
        with Process([*who, *words], stdout=subprocess.PIPE, text=True) as process:
            lines = dict(line.split(":\t", 1) for line in iter(process.stdout.readline, "\n") if ":\t" in line)
            assert (lines["TracerPid"], int(lines["ShdPnd"], 16)) == ("0\n", 0)
            assert pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii") == ""
            process.kill()
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["text-large"]


@pytest.fixture
def redis_server(public_folder):
    checker = shutil.which("redis-check-rdb")  # the same file by another name
    if not checker:
        pytest.skip("Debian's redis-tools is not installed")
    server = public_folder / "redis-server"
    server.symlink_to(checker)
    return server


def test_a_server(who, watched, redis_server):
    words, _ = watched([redis_server, "--port", "0", "--save", "", "--dir", str(redis_server.parent)])
    with Process([*who, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline()
        assert status_of(process.pid)["TracerPid"] == "0"
        process.kill()


def test_can_be_traced(watched):
    """By a debugger that comes, and where it asks for it itself."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    words, _ = watched(["sleep", "60"])
    with Process(words) as process:
        wait_for(lambda: status_of(process.pid)["Name"] == "sleep" and status_of(process.pid)["TracerPid"] == "0")
        with Process(["strace", "-p", str(process.pid)], stderr=subprocess.PIPE, text=True) as strace:
            assert "attached" in strace.stderr.readline()
            strace.terminate()
        process.kill()
    words, _ = watched(["strace", "-o", "/dev/null", "true"])
    assert subprocess.run(words, check=False).returncode == 0


def test_find(who, watched):
    """It is not traced when it tells the first name, nor later: it waits there for its pipe to be read."""
    words, _ = watched(["find", "/", "-name", "*"])
    with Process([*who, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "/\n"
        assert (status_of(process.pid)["Name"], status_of(process.pid)["TracerPid"]) == ("find", "0")
        process.kill()


def seconds(words):
    """That a command takes."""
    began = time.monotonic()
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, cwd="/")  # find goes back to it
    return time.monotonic() - began


def slowdown(measure, plain, ours, pairs=5):
    """What MEASURE says of OURS beside PLAIN, which run in turn: the median ratio."""
    return statistics.median(measure(ours) / measure(plain) for _ in range(pairs))


# Programs that make many calls: with a stop at each of them they would take ten times as long.
MANY_CALLS = {"dd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=200000"],
              "find": ["find", "FOLDERS", "-name", "nothing"],
              "python3": ["/usr/bin/python3", "-c", "import os\nfor _ in range(300000): os.getppid()"]}


@pytest.fixture
def folders(public_folder):
    """Many, that nobody changes meanwhile."""
    for number in range(5000):
        (public_folder / "many" / str(number // 100) / str(number)).mkdir(parents=True)
    return str(public_folder / "many")


@pytest.mark.alone
@pytest.mark.parametrize("name", MANY_CALLS)
def test_is_as_fast(nobody, watched, folders, name):
    """A user's, beside a plain run of the same."""
    command = [folders if word == "FOLDERS" else word for word in MANY_CALLS[name]]
    ratio = slowdown(seconds, [*nobody, *command], [*nobody, *watched(command)[0]])
    assert ratio < 2, ratio


@pytest.mark.alone
def test_a_server_is_as_fast(nobody, watched, redis_server):
    """It serves 20,000 requests, one after the other, as fast as one that was started plain."""
    ask = shutil.which("redis-benchmark")
    if not ask:
        pytest.skip("Debian's redis-tools is not installed")
    socket = redis_server.parent / "socket"
    command = [redis_server, "--port", "0", "--save", "", "--dir", str(socket.parent), "--unixsocket", str(socket), "--unixsocketperm", "777"]

    def serving(words):
        with Process(words, stdout=subprocess.DEVNULL) as process:
            wait_for(lambda: run([ask, "-s", socket, "-n", "1", "-c", "1", "-t", "set"]).returncode == 0, process=process)
            taken = seconds([ask, "-s", socket, "-n", "20000", "-c", "1", "-t", "set"])
            process.kill()
        socket.unlink()
        return taken

    ratio = slowdown(serving, [*nobody, *command], [*nobody, *watched(command)[0]])
    assert ratio < 2, ratio


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("way", ["directly", "behind a shell", "by a script"])
@pytest.mark.parametrize("flags", ["", "P", "OCF"])
def test_emulator(hugexec_command, bigtext, tmp_path, way, flags):
    """A program for another processor: its emulator, which binfmt_misc has, is decided about, however it comes to it."""
    foreign, script = tmp_path / "foreign", tmp_path / "script"
    content = bytearray(pathlib.Path(bigtext(4)).read_bytes())
    content[18:20] = (183).to_bytes(2, "little")  # EM_AARCH64
    content[16:18] = (2).to_bytes(2, "little")  # ET_EXEC
    foreign.write_bytes(content)
    foreign.chmod(0o755)
    script.write_text(f"#!{foreign}\n")
    script.chmod(0o755)
    kind = rf":hugexec-test:M:16:\x02\x00\xb7\x00:\xfe\xff\xff\xff:{bigtext(4)}:{flags}"
    setup = f"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf '%s' '{kind}' >/proc/sys/fs/binfmt_misc/register && exec \"$@\""
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", setup]
    command = {"directly": [foreign], "behind a shell": ["sh", "-c", f"exec {foreign}"], "by a script": [script]}[way]
    plain = subprocess.run([*space, "sh", *map(str, command)], capture_output=True, text=True, check=False)
    if plain.returncode != 0:
        pytest.skip(f"no binfmt_misc in a user namespace here (Linux 6.7): {plain.stderr.strip()}")
    words, report = hugexec_command(command, policy_with(), "thp")
    ours = subprocess.run([*space, "sh", *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 0)
    assert [(line["exe"], line["outcome"]) for line in read_report(report)] == [(bigtext(4), "remapped")]
