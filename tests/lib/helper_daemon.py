# SPDX-License-Identifier: Apache-2.0
"""hugexecd as a service manager starts it, and clients that speak to it without hugexec."""
import contextlib
import os
import socket
import struct

from lib.process import Process, children_of, wait_for
from lib.sanitized import without_leak_check
from lib.surroundings import BUILD

# What a filter takes away from a service: to trace, and all that only a tracer needs.
KILLS_PTRACE = ("kill", "ptrace", "pidfd_getfd", "process_vm_readv", "process_vm_writev")

MAGIC, VERSION = 0x64786768, 1
REPORT, STDERR, VERBOSE = 1, 2, 4
SEIZED, SEIZED_FILTERED, REFUSED = 1, 2, 3


def request(magic=MAGIC, version=VERSION, backing=b""):
    return struct.pack("=II56s", magic, version, backing)


def word(magic=MAGIC, flags=0):
    return struct.pack("=II", magic, flags)


def credentials(pid=None, uid=None, gid=None):
    ids = (os.getpid() if pid is None else pid, os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    return socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", *ids)


def files(*fds):
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds)


class Client(socket.socket):
    """One connection to the helper."""

    def __init__(self, path, seconds=30):
        super().__init__(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.settimeout(seconds)
        self.connect(str(path))

    def ask(self, data, *attached):
        with contextlib.suppress(BrokenPipeError):  # it may have answered, and closed, unasked
            self.sendmsg([data], attached)
        return self.answer()

    def answer(self):
        """(verdict, word, detail), or None where the helper has closed the connection."""
        for _ in range(2):
            with contextlib.suppress(ConnectionResetError):
                data = self.recv(4096)
                break
        else:
            return None
        if not data:
            return None
        magic, verdict, word, detail = struct.unpack("=II32s480s", data)
        assert magic == MAGIC
        return verdict, word.split(b"\0")[0].decode(), detail.split(b"\0")[0].decode()


def asking(path, **more):
    """The environment of a hugexec that asks the helper at PATH."""
    return {**os.environ, **without_leak_check(), "HUGEXEC_HELPER": str(path), **more}


class Daemon:
    """hugexecd on a socket of its own; the socket stays when it ends, as systemd's does."""

    def __init__(self, path, policy):
        self.path = path
        self.policy = policy
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(4096)
        self.process = None

    def start(self, *options, prefix=(), **environment):
        """PREFIX: words of a command that runs it."""
        number = self.listener.fileno()
        start = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{number}'
        binary = BUILD / "shim" / "hugexecd"
        self.process = Process(["bash", "-c", start, "bash", *prefix, binary, f"--policy={self.policy}", *options],
                               pass_fds=(number,), env={**os.environ, **environment})
        return self

    @property
    def pid(self):
        return self.process.pid

    def workers(self):
        return [int(pid) for pid in children_of(self.pid)]

    def files(self):
        return sorted(os.readlink(f"/proc/{self.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.pid}/fd"))

    def wait_until_serving(self):
        """Until it answers, and has nothing left to do."""
        with Client(self.path) as client:
            assert client.ask(b"")[:2] == (REFUSED, "helper-request")
        wait_for(lambda: not self.workers(), process=self.process)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.listener.close()


