# SPDX-License-Identifier: Apache-2.0
"""What the tests of units ask the test program service (tests/programs/service.c), and what they see of it."""
import contextlib
import os
import socket

from lib.process import children_of, status_of, wait_for
from lib.smaps import huge_text_bytes

SYSTEM = "/etc/systemd/system"
PROGRAM = "/srv/programs/service-8"
MIB = 1 << 20
ENOUGH = 6 * MIB  # of 8: all whole slots


def named(unit, folder="/etc"):
    """The file that says that UNIT is enabled."""
    return f"{folder}/hugexec/units.d/{unit}"


def service_unit(socket_path, more="", arguments=""):
    """The text of a unit that runs PROGRAM."""
    return f"[Service]\nExecStart={PROGRAM} --socket={socket_path} {arguments}\n{more}\n"


def tell(container, path, line, seconds=120):
    """Send LINE to the service that listens on PATH in the container; what it answers ("" where it ends)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(container.path(path)))
        client.sendall(line.encode() + b"\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while not answer.endswith(b"\n"):
                got = client.recv(4096)
                if not got:
                    break
                answer += got
    return answer.decode()


def ask(container, path, seconds=120):
    """Its answer to "ask" as a dict, as soon as it listens."""
    answer = wait_for(lambda: tell(container, path, "ask"), seconds, f"an answer from {path}")
    return dict(pair.split("=", 1) for pair in answer.split())


def untouched(pid, children=0):
    """Nothing of hugexec is left about the process."""
    assert status_of(pid)["TracerPid"] == "0"
    assert len(children_of(pid)) == children
    assert not [fd for fd in os.listdir(f"/proc/{pid}/fd") if "memfd" in os.readlink(f"/proc/{pid}/fd/{fd}")]


def on_huge_pages(container, unit):
    """Bytes of the main process's text on huge pages."""
    return huge_text_bytes(container.main_pid(unit))


def words_of(pid):
    """The command line of a process."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")[:-1]



def settings_of(container, unit):
    return container.settings_of(unit)
