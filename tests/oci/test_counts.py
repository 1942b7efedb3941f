# SPDX-License-Identifier: Apache-2.0
"""Launches are counted exactly, whoever makes them: five users, who may write to no file of root's, and two containers."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from containers import Containers, big, policy

from lib.process import Process, wait_for
from lib.surroundings import BUILD, ROOT, is_open

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, other users and containers need root")

HUGEXEC, CTL = BUILD / "shim" / "hugexec", BUILD / "shim" / "hugexecctl"
LAUNCHES, USERS, OF_CONTAINERS = 1000, range(20001, 20006), 3
SMALL = {"name": "small", "match": {"exe": "**/true"}, "min_text": "1G"}
LAUNCH = "i=0; while [ $i -lt $1 ]; do \"$0\" /bin/true || exit 1; i=$((i + 1)); done"


@pytest.fixture
def containers(tmp_path):
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    if not is_open(BUILD):
        pytest.skip(f"another user cannot reach {BUILD}")
    rules = policy()
    made = Containers("runc", tmp_path / "runc", {**rules, "rules": [SMALL, *rules["rules"]]})
    made.sandbox.run(["sh", "-c", "mkdir -p /run/hugexec; : >/run/hugexec/metrics"])
    yield made
    made.close()


@pytest.fixture
def counter(containers):
    # A launch waits for a twentieth of a second, no longer: not for a counter that has no processor on a busy machine.
    words = containers.sandbox.inside(["nice", "--adjustment=-20", sys.executable, ROOT / "tests/lib/counter.py", BUILD / "shim" / "hugexec-counter",
                                       "/run/hugexec/counter.sock"])
    process = Process([str(word) for word in words])
    wait_for(lambda: containers.sandbox.run(["test", "-S", "/run/hugexec/counter.sock"]).returncode == 0, process=process)
    return process


def counted(containers):
    """{labels of launches: how many}"""
    text = containers.sandbox.run([CTL, "metrics", "--no-processes"]).stdout
    found = re.findall(r"^hugexec_launches_total\{(.*)\} (\d+)$", text, re.MULTILINE)
    return {tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels))): int(value) for labels, value in found}


def sum_of(counts, **labels):
    return sum(value for key, value in counts.items() if set(labels.items()) <= set(key))


def test_a_thousand_launches_by_five_users_and_two_containers(containers, counter):
    of_user = (LAUNCHES - 2 * OF_CONTAINERS) // len(USERS)
    of_root = LAUNCHES - 2 * OF_CONTAINERS - of_user * len(USERS)
    users = []
    for uid in USERS:
        words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", LAUNCH, HUGEXEC, of_user]
        users.append(Process([str(word) for word in containers.sandbox.inside(words)]))
    assert containers.sandbox.run(["sh", "-c", LAUNCH, HUGEXEC, of_root]).returncode == 0
    for name in ("one", "two"):
        bundle = containers.bundle(name, ["/bin/big", "exit", "0"], {"/bin/big": big()})
        for _ in range(OF_CONTAINERS):
            assert containers.run(bundle).returncode == 0
    assert [user.wait(300) for user in users] == [0] * len(USERS)
    wait_for(lambda: sum_of(counted(containers)) >= LAUNCHES, what="all launches to be counted")
    counts = counted(containers)
    assert sum_of(counts) == LAUNCHES
    assert sum_of(counts, via="shim", reason="text-small", rule="small") == LAUNCHES - 2 * OF_CONTAINERS
    assert sum_of(counts, via="hook", outcome="remapped", rule="opted in") == 2 * OF_CONTAINERS


def test_datagrams_of_strangers_count_for_nothing(containers, counter):
    """Any bytes, a full queue, and many at once: it goes on, and counts who sends what hugexec sends."""
    flood = ("import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect('/run/hugexec/counter.sock')\n"
             "for size in [0, 1, 7, 8, 100, 263, 264, 265, 5000] * 200: s.send(os.urandom(size))\n"
             "for size in [264, 272, 280] * 200: s.send(b'hgxcnt3\\0' + os.urandom(size))")
    words = ["setpriv", "--reuid=20001", "--regid=20001", "--clear-groups"]
    assert containers.sandbox.run([*words, sys.executable, "-I", "-c", flood]).returncode == 0
    assert containers.sandbox.run([*words, HUGEXEC, "/bin/true"]).returncode == 0
    wait_for(lambda: counted(containers), what="the launch to be counted")
    assert sum_of(counted(containers)) == 1 and counter.poll() is None


def test_a_launch_does_not_wait_for_a_counter_that_hangs(containers):
    """Nor for one that is not there."""
    words = ["setpriv", "--reuid=20001", "--regid=20001", "--clear-groups", HUGEXEC, "/bin/true"]
    assert containers.sandbox.run(words).returncode == 0
    hang = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('/run/hugexec/counter.sock'); "
            "os.chmod('/run/hugexec/counter.sock', 0o666); print(); sys.stdout.flush(); sys.stdin.read()")
    with Process([str(word) for word in containers.sandbox.inside([sys.executable, "-c", hang])], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        for _ in range(40):  # more than the queue holds
            assert containers.sandbox.run(words, timeout=60).returncode == 0
        process.stdin.close()
