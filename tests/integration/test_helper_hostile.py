# SPDX-License-Identifier: Apache-2.0
"""hugexecd among clients that lie, stall, come in crowds or send rubbish: refusals, nothing lost, nobody delayed."""
import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from lib.confinement import seccomp_filter
from lib.helper_daemon import KILLS_PTRACE, REFUSED, Client, asking, credentials, files, request, word
from lib.policies import ALL, policy_with
from lib.process import Process, marked, status_of, wait_for
from lib.report import read_report
from lib.sanitized import SANITIZED
from lib.smaps import huge_text_bytes


@contextlib.contextmanager
def own_pidfd(pid=None):
    fd = os.pidfd_open(os.getpid() if pid is None else pid)
    try:
        yield fd
    finally:
        os.close(fd)


def works(daemon, hugexec_command, bigtext):
    """An honest client is served."""
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    process = Process(words, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert process.wait(60) == 9
    assert [line["outcome"] for line in read_report(report)] == ["remapped"], read_report(report)


def refused(daemon, expected, data, *attached):
    with Client(daemon.path) as client:
        verdict, reason, detail = client.ask(data, *attached)
    assert (verdict, reason) == (REFUSED, expected), (reason, detail)
    return detail


def test_malformed(start_daemon):  # noqa: F811
    daemon = start_daemon()
    with own_pidfd() as pidfd:
        good = (credentials(), files(pidfd))
        for data, attached in [
                (b"", good), (b"x", good), (request()[:-1], good), (request() + b"\0", good), (b"\xff" * 64, good),
                (request(magic=1), good), (request(version=2), good), (request(version=0), good),
                (request(backing=b"x" * 56), good), (request(backing=b"floppy"), good), (request(backing=b"thp,"), good),
                (request(), ()), (request(), (credentials(),)),
                (request(), (credentials(), files(pidfd, pidfd))),
                (request(), (credentials(), files(*[pidfd] * 200))), (b"x" * 100000, good)]:
            refused(daemon, "helper-request", data, *attached)
    wait_for(lambda: not daemon.workers())


def test_identity(start_daemon):  # noqa: F811
    """A pidfd that is not the sender's own: another process's, one that has ended, or no pidfd at all."""
    daemon = start_daemon()
    other = Process(["sleep", "60"])
    ended = Process(["true"])
    with own_pidfd(other.pid) as pidfd, own_pidfd(ended.pid) as dead, own_pidfd() as own, open("/dev/null", "rb") as null:
        assert ended.wait(30) == 0
        for fd in (pidfd, dead, null.fileno()):
            refused(daemon, "helper-identity", request(), credentials(), files(fd))
        # Root may say that it is somebody else; the one who connected is known all the same.
        if os.geteuid() == 0:
            refused(daemon, "helper-identity", request(), credentials(other.pid), files(pidfd))
            refused(daemon, "helper-identity", request(), credentials(other.pid), files(own))
        else:
            with Client(daemon.path) as client, pytest.raises(PermissionError):
                client.sendmsg([request()], [credentials(other.pid), files(pidfd)])
    assert status_of(other.pid)["TracerPid"] == "0"
    other.kill()


@pytest.mark.parametrize("survivor", ["sends", "waits"])
def test_connection_that_was_handed_on(start_daemon, survivor):  # noqa: F811
    """Who has connected is not who sends: also where that one has ended since."""
    daemon = start_daemon()
    client = Client(daemon.path)
    child = os.fork()
    if child == 0:
        try:
            with own_pidfd() as pidfd:
                client.sendmsg([request()], [credentials(), files(pidfd)])
                time.sleep(60 if survivor == "waits" else 0)
        finally:
            os._exit(0)
    try:
        verdict, reason, _ = client.answer()
        assert (verdict, reason) == (REFUSED, "helper-identity")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        client.close()


def test_no_word(start_daemon, bigtext, mark):  # noqa: F811
    """Who asks, and executes something without the word that goes before it, finds it untouched; or is forgotten."""
    daemon = start_daemon()
    script = f"""
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect({str(daemon.path)!r})
s.sendmsg([struct.pack("=II56s", 0x64786768, 1, b"")],
          [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", os.getpid(), os.geteuid(), os.getegid())),
           (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", os.pidfd_open(os.getpid())))])
print(struct.unpack("=II", s.recv(4096)[:8])[1], flush=True)
if sys.argv[1] == "exec":
    os.execv({bigtext(8)!r}, ["bigtext", "sleep"])
sys.stdin.read()
"""
    for kind in ("exec", "wait"):
        process = Process(["/usr/bin/python3", "-c", script, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "MARK": mark})
        assert process.stdout.readline() in ("1\n", "2\n")
        if kind == "wait":
            assert status_of(process.pid)["TracerPid"] != "0"
        wait_for(lambda: status_of(process.pid)["TracerPid"] == "0", process=process)
        if kind == "exec":
            while process.stdout.readline() not in ("ready\n", ""):
                pass
            assert huge_text_bytes(process.pid) == 0
        process.kill()
        process.wait(30)
    wait_for(lambda: not daemon.workers())


def test_garbage(start_daemon, hugexec_command, bigtext, mark):  # noqa: F811
    """10,000 requests of chance. Each is refused or its connection closed; the server has grown by nothing."""
    daemon = start_daemon(None, MARK=mark)
    daemon.wait_until_serving()
    before = daemon.files()
    chance = random.Random(4)
    refusals = 0
    requests = 2000 if SANITIZED else 10000
    with own_pidfd() as pidfd, open("/dev/null", "wb") as null:
        for _ in range(requests):
            data = bytearray(chance.choice([request(), word(), chance.randbytes(chance.randrange(200))]))
            for _ in range(chance.randrange(1, 8)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
            if bytes(data) == request():
                continue
            attached = chance.choice([(), (credentials(),), (credentials(), files(pidfd)), (files(null.fileno(), pidfd),)])
            with Client(daemon.path) as client:
                if chance.random() < 0.9:
                    answer = client.ask(bytes(data), *attached)
                    assert answer is not None and answer[0] == REFUSED and answer[1].startswith("helper-"), answer
                    refusals += 1
    assert refusals > 0.8 * requests
    wait_for(lambda: not daemon.workers(), process=daemon.process)
    assert daemon.files() == before
    works(daemon, hugexec_command, bigtext)
    wait_for(lambda: marked(mark) == [daemon.pid])


def test_stalling(start_daemon, hugexec_command, bigtext):  # noqa: F811
    """Who connects and says nothing is told so after two seconds, and delays nobody meanwhile."""
    daemon = start_daemon()
    with contextlib.ExitStack() as stack:
        stalled = [stack.enter_context(Client(daemon.path)) for _ in range(20)]
        began = time.monotonic()
        works(daemon, hugexec_command, bigtext)
        for client in stalled:
            verdict, reason, _ = client.answer()
            assert (verdict, reason) == (REFUSED, "helper-timeout")
        assert time.monotonic() - began > 1
    wait_for(lambda: not daemon.workers())


def send_lingering_socket(daemon, listener, data):
    """
    Send DATA with a TCP socket whose last close would last for minutes: data that nobody takes, and SO_LINGER. By a
    process that ends, because for one that ends no close lasts.
    """
    child = os.fork()
    if child:
        return child
    with contextlib.suppress(BaseException):
        sender = socket.create_connection(listener.getsockname())
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(b"x" * 65536)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 300))
        Client(daemon.path).sendmsg([data], [credentials(), files(sender.fileno())])
    os._exit(0)


def test_files_that_block_when_closed(start_daemon, hugexec_command, bigtext):  # noqa: F811
    """The server never has the last reference to what a client has sent, and who has it ends with it."""
    daemon = start_daemon(ALL, "--clients=4")
    daemon.wait_until_serving()
    os.kill(daemon.pid, signal.SIGSTOP)  # until the senders have ended: nobody else has their sockets then
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        children = [send_lingering_socket(daemon, listener, request() if number % 2 else b"rubbish") for number in range(8)]
        for _ in children:
            stack.enter_context(listener.accept()[0])
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        os.kill(daemon.pid, signal.SIGCONT)
        # With half as many seats as such clients: were they taken for long, an honest one would be told nothing in time.
        works(daemon, hugexec_command, bigtext)
        wait_for(lambda: not daemon.workers(), process=daemon.process)


def test_too_many_of_one_user(start_daemon, hugexec_command, bigtext, nobody):  # noqa: F811
    """One user's crowd is refused; another user is served beside it."""
    daemon = start_daemon(ALL, "--clients-per-user=3")
    words, report = hugexec_command([bigtext(4), "exit", "9"], backing="thp")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Client(daemon.path))
        wait_for(lambda: len(daemon.workers()) == 3)
        for worker in daemon.workers():
            os.kill(worker, signal.SIGSTOP)  # their clients' time is not over before we are done
            stack.callback(os.kill, worker, signal.SIGCONT)
        refused(daemon, "helper-busy", b"")
        process = Process([*nobody, *words], env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
        assert process.wait(60) == 9
    assert [line["outcome"] for line in read_report(report)] == ["remapped"]


def test_crowd(start_daemon, hugexec_command, bigtext, mark):  # noqa: F811
    """200 at once. Each is served, or has been told why not; all run."""
    daemon = start_daemon(None, "--clients=16", MARK=mark)
    program = [bigtext(4), "exit", "9"]
    prepare = seccomp_filter(*KILLS_PTRACE)
    crowd = []
    for _ in range(200):
        words, report = hugexec_command(program, backing="thp")
        crowd.append((Process(words, stdout=subprocess.DEVNULL, env=asking(daemon.path, MARK=mark), preexec_fn=prepare), report))
    remapped = 0
    for process, report in crowd:
        assert process.wait(120) == 9
        line, = read_report(report)
        remapped += line["outcome"] == "remapped"
        assert line["outcome"] == "remapped" or "; hugexecd: helper-" in line["reason"], line["reason"]
    assert remapped > 0
    print(f"{remapped} of 200 remapped")
    wait_for(lambda: marked(mark) == [daemon.pid])
    works(daemon, hugexec_command, bigtext)


def test_two_hundred_connections_at_once(start_daemon):  # noqa: F811
    """Beyond the seats there is a queue, and beyond a user's share a refusal; nobody is forgotten."""
    daemon = start_daemon(None, "--clients=32", "--clients-per-user=16")
    answers = []

    def ask():
        with Client(daemon.path) as client:
            answers.append(client.ask(b"rubbish")[1])

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 200 and set(answers) <= {"helper-request", "helper-busy"}
    wait_for(lambda: not daemon.workers())


def test_report_that_nobody_takes(start_daemon, bigtext, hugexec_command, nobody):  # noqa: F811
    """A pipe that is full holds the program for a second at most, and the helper no longer."""
    daemon = start_daemon(policy_with(backing=["thp"]))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    os.set_blocking(writer, True)
    words, _ = hugexec_command([bigtext(4), "exit", "9"], options=["-v"])
    process = Process([*nobody, *words], stderr=writer, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert process.wait(60) == 9
    os.close(reader)
    os.close(writer)
    wait_for(lambda: not daemon.workers())


def test_report_is_written_by_its_client(start_daemon, bigtext, hugexec_command, nobody):  # noqa: F811
    """A socket as standard error tells who writes to it: not root."""
    daemon = start_daemon(policy_with(backing=["thp"]))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.settimeout(30)
        words, _ = hugexec_command([bigtext(4), "exit", "9"], options=["-v"])
        process = Process([*nobody, *words], stderr=theirs, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
        assert process.wait(60) == 9
        line, attached, _, _ = ours.recvmsg(4096, 1024)
    assert line.startswith(b"hugexec: bigtext") and b"on huge pages" in line
    writer = [struct.unpack("=iII", data) for _, kind, data in attached if kind == socket.SCM_CREDENTIALS]
    assert [ids[1:] for ids in writer] == [(65534, 65534)] and writer[0][0] != process.pid
