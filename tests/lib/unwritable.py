# SPDX-License-Identifier: Apache-2.0
"""Standard errors that take nothing, that end who writes to them, or that are not there."""
import contextlib
import fcntl
import os
import pty
import resource
import signal
import socket
import termios

# Each yields the file, and the options that have hugexec write somewhere else.


def fill(fd):
    """Write to FD until it takes no more; it blocks again afterwards."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(fd, b"x" * size)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


@contextlib.contextmanager
def opened(*fds):
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextlib.contextmanager
def full_pipe(_):
    with opened(*os.pipe()) as (_, end):
        fill(end)
        yield end, []


@contextlib.contextmanager
def pipe_without_reader(_):
    reader, end = os.pipe()
    os.close(reader)
    with opened(end):
        yield end, []


@contextlib.contextmanager
def stopped_terminal(_):
    with opened(*pty.openpty()) as (_, terminal):
        termios.tcflow(terminal, termios.TCOOFF)
        yield terminal, []


@contextlib.contextmanager
def full_socket(_):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fill(theirs.fileno())
        yield theirs.fileno(), []


@contextlib.contextmanager
def full_device(_):
    with opened(os.open("/dev/full", os.O_WRONLY)) as (device,):
        yield device, []


@contextlib.contextmanager
def closed(_):
    yield None, []


@contextlib.contextmanager
def full_file(folder):
    """At its limit: a write raises SIGXFSZ."""
    with opened(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT)) as (file,):
        yield file, []


STANDARD_ERRORS = {place.__name__: place for place in (full_pipe, pipe_without_reader, stopped_terminal, full_socket, full_device,
                                                       closed, full_file)}


def default_signals(stderr, is_limited):
    """For the child: default dispositions, which Python has changed; a file size limit; or no standard error at all."""
    def prepare():
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if is_limited:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        if stderr is None:
            os.close(2)
    return prepare
