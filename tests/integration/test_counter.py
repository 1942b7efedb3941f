# SPDX-License-Identifier: Apache-2.0
"""hugexec-counter, whatever strangers send to its socket."""
import contextlib
import os
import socket
import struct
import subprocess

import pytest

from lib.process import Process, wait_for
from lib.surroundings import BUILD

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the counters' file has to be root's")

COUNTER = BUILD / "shim" / "hugexec-counter"
LINGER_S = 20000


def count(rule):
    """The datagram of a launch by RULE (struct count_message)."""
    return struct.pack("=8si4xBBb32s64s48s64s5x4Q", b"hgxcnt3", os.getpid(), 1, 0, 0, b"", b"", rule, b"", 0, 0, 0, 0)


def lingering():
    """A TCP socket that takes LINGER_S to close, and its peer, which reads nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        own = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    own.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            own.send(bytes(65536))
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
    return own, peer


def test_descriptors_in_a_datagram_hold_nobody(tmp_path):
    """The last reference to a socket that lingers is in the datagram: the counter closes it, and goes on."""
    counters = tmp_path / "metrics"
    counters.touch(0o644)
    with contextlib.ExitStack() as stack:  # the peers go first: without them nothing lingers, here neither
        listener, sender = (stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(str(tmp_path / "socket"))
        sender.connect(str(tmp_path / "socket"))
        for _ in range(3):
            own, peer = lingering()
            stack.enter_context(peer)
            sender.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", own.fileno()))])
            os.close(own.detach())
        sender.send(count(b"behind them"))
        words = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$1" 3<&0', COUNTER, counters]
        with Process(words, stdin=listener, stderr=subprocess.DEVNULL) as counter:
            wait_for(lambda: b"behind them" in counters.read_bytes(), process=counter)
            counter.terminate()
