# SPDX-License-Identifier: Apache-2.0
"""What a workload may be confined by: cgroups, seccomp filters, resource limits."""
import contextlib
import fcntl
import os
import pathlib
import resource

import pytest

from lib.machine import lock
from lib.process import wait_for


@contextlib.contextmanager
def cgroup(controller, limits):
    """
    A new cgroup with LIMITS (file: value), v2 or v1, removed afterwards; yields its cgroup.procs. One at a time in version 2: a controller
    that was switched on for one test would be switched off while another has it. (Within it the pool may be taken, not the other way round.)
    """
    v1 = pathlib.Path("/sys/fs/cgroup", controller)
    parents = [pathlib.Path("/sys/fs/cgroup/unified"), pathlib.Path("/sys/fs/cgroup")]
    parent = next((path for path in parents if (path / "cgroup.controllers").exists()
                   and controller in (path / "cgroup.controllers").read_text().split()), None)
    version = 2
    if (v1 / "cgroup.procs").exists():
        parent, version = v1, 1
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        pytest.skip(f"no cgroup can be made under the {controller} controller here")
    switch = parent / "cgroup.subtree_control"
    folder = parent / f"hugexec-test-{os.getpid()}"
    with lock("cgroup", fcntl.LOCK_EX if version == 2 else fcntl.LOCK_SH):
        was_on = version == 1 or controller in switch.read_text().split()
        try:
            try:
                if not was_on:
                    switch.write_text(f"+{controller}")
                folder.mkdir()
                for names, value in limits.items():
                    (folder / names[version - 1]).write_text(value)
            except OSError as error:
                pytest.skip(f"no cgroup can be made here: {error}")
            yield folder / "cgroup.procs"
        finally:
            if folder.exists():
                wait_for(lambda: folder.rmdir() is None)
            if not was_on:
                switch.write_text(f"-{controller}")


def joining(procs):
    return lambda: procs.write_text(str(os.getpid()))


def seccomp_filter(action, *calls):
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def load():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        for call in calls:
            rules.add_rule(seccomp.ERRNO(1) if action == "errno" else seccomp.KILL_PROCESS, call)
        rules.load()

    return load


def limited(*limits):
    def apply():
        for which, soft, hard in limits:
            resource.setrlimit(which, (soft, hard))

    return apply
