# SPDX-License-Identifier: Apache-2.0
"""counter.py PROGRAM SOCKET: run hugexec-counter with its socket, as systemd does for hugexec-counter.socket."""
import os
import socket
import sys

program, path = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
listener.bind(path)
os.chmod(path, 0o666)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)  # the socket may have been 3 itself
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(program, [program])
