# SPDX-License-Identifier: Apache-2.0
"""A filesystem of a few files that answers as a test wants it: the kernel's FUSE protocol (linux/fuse.h), spoken by a process."""
import contextlib
import errno
import mmap
import os
import pathlib
import signal
import stat
import struct

import pytest

from lib.process import run

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = (
    1, 2, 3, 4, 14, 15, 16, 17, 18, 25, 26, 27, 29, 36, 42)
ROOT_NODE = 1
SILENCE = 60  # seconds after which the server ends: whoever waits for it then gets an error, as a process that waits cannot be killed
FOR_EVER = 1 << 30  # seconds that names and attributes may be kept


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


class Files:
    """
    FILES (name: bytes) at FOLDER. From hold() on no request is answered of which HELD(opcode, name, offset, command) is true; they
    are counted. COMMAND: what the process that asks calls itself.
    """

    def __init__(self, folder, files, held):
        self.names = list(files)
        self.contents = [bytearray(content) for content in files.values()]
        self.held = held
        self.shared = mmap.mmap(-1, 4096)  # byte 0: hold; from byte 8 on: how many are not answered
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
        done = run(["mount", "-i", "-t", "fuse", "-o", options, "hugexec-test", folder], pass_fds=[self.device])
        if done.returncode != 0:
            os.close(self.device)
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        # No thread: subprocess forks with the interpreter's lock held, and the child may wait for us.
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                self.serve()
            finally:
                os._exit(0)
        os.close(self.device)  # the server's end is that of the connection

    def hold(self):
        self.shared[0] = 1

    def is_there(self):
        """Whether it is still silent, and not gone."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def count_held(self):
        return struct.unpack_from("<Q", self.shared, 8)[0]

    def serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # the request was taken back
                    continue
                return  # unmounted
            _, opcode, unique, node, _, _, asks = struct.unpack_from("<IIQQIII", request)
            body = request[40:]
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            name = self.names[node - 2] if node > ROOT_NODE else ""
            offset = struct.unpack_from("<QQ", body)[1] if opcode in (READ, WRITE) else 0
            if self.shared[0] and self.held(opcode, name, offset, command_of(asks)):
                struct.pack_into("<Q", self.shared, 8, self.count_held() + 1)
                signal.alarm(SILENCE if self.count_held() == 1 else signal.alarm(0))
                continue
            error, answer = self.answer(opcode, node, body)
            with contextlib.suppress(OSError):
                os.write(self.device, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)

    def attributes(self, node):
        is_folder = node == ROOT_NODE
        size = 0 if is_folder else len(self.contents[node - 2])
        mode = stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o777
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, opcode, node, body):
        """(errno, bytes)"""
        if opcode == INIT:
            major, minor, readahead, _ = struct.unpack_from("<IIII", body)
            return 0, struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead, 0, 16, 16, 1 << 17, 1, 32, 0, 0)
        if opcode == LOOKUP:
            name = body.rstrip(b"\0").decode()
            if name not in self.names:
                return errno.ENOENT, b""
            found = self.names.index(name) + 2
            return 0, struct.pack("<QQQQII", found, 0, FOR_EVER, FOR_EVER, 0, 0) + self.attributes(found)
        if opcode in (GETATTR, SETATTR):
            return 0, struct.pack("<QII", FOR_EVER, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return 0, struct.pack("<QII", 0, 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, bytes(self.contents[node - 2][offset:offset + size])
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.contents[node - 2][offset:offset + size] = body[40:40 + size]
            return 0, struct.pack("<II", size, 0)
        if opcode == STATFS:
            return 0, bytes(80)
        if opcode in (FLUSH, RELEASE, RELEASEDIR):
            return 0, b""
        return errno.ENOSYS, b""


@contextlib.contextmanager
def fuse_files(folder, held, **files):
    """Files mounted at FOLDER, as long as the block lasts; whoever waits for one then gets an error."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    mounted = Files(folder, files, held)
    try:
        yield mounted
    finally:
        os.kill(mounted.pid, signal.SIGKILL)
        os.waitpid(mounted.pid, 0)
        run(["umount", "--lazy", folder])
