# SPDX-License-Identifier: Apache-2.0
"""
What of this machine the tests change for a while, and what could be left of them: machine_state.py FILE writes it to FILE;
if FILE is there already, it tells what is different now, and which of hugexec's processes have crashed since. Exit 1: something is,
or one has.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import stat
import sys
import tempfile
import time

import kernel_log

SETTINGS = ("/sys/kernel/mm/hugepages/*/nr_*hugepages", "/sys/devices/system/node/node*/hugepages/*/nr_hugepages",
            "/sys/kernel/mm/transparent_hugepage/*enabled", "/sys/kernel/mm/transparent_hugepage/defrag",
            "/sys/kernel/mm/transparent_hugepage/khugepaged/[!pf]*", "/sys/kernel/tracing/uprobe_events",
            "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/kernel/perf_event_paranoid",
            "/proc/sys/vm/nr_overcommit_hugepages", "/proc/sys/fs/protected_*", "/proc/sys/user/max_*_namespaces")
NAMES = ("hugexec", "libpod")  # of cgroups, mounts and files of the tests
LOCKS = ("hugexec-test-pool.lock", ".hugexec-test-turn.lock")  # of lib/machine.py: of the pool, and of all other settings


def settings():
    """A kernel setting and its value, of those that we may change."""
    with contextlib.ExitStack() as stack:
        for name in LOCKS if os.geteuid() == 0 else ():  # another run, at work beside this one, changes them meanwhile
            with contextlib.suppress(FileNotFoundError):  # nobody has ever taken it
                wait_for_lock(stack.enter_context(open(f"/tmp/{name}", encoding="ascii")))
        for pattern in SETTINGS:
            for path in pathlib.Path("/").glob(pattern.lstrip("/")):
                with contextlib.suppress(OSError):
                    if os.access(path, os.W_OK):
                        yield f"{path}: {path.read_text().strip()}"


def wait_for_lock(file):
    """For as long as a test may take; one that hangs holds nobody up for ever."""
    for _ in range(9000):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        time.sleep(0.1)
    return None


def devices():
    """Root's programs replace them by files when they are told to write to one by a new name."""
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx"):
        with contextlib.suppress(OSError):
            status = os.stat(f"/dev/{name}")
            yield f"device: /dev/{name} {stat.filemode(status.st_mode)} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)} of {status.st_uid}"


def mounts():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" - ")[0].split()
        if any(name in line for name in NAMES) or words[4].startswith(("/sys", "/proc", "/usr", "/etc")):
            yield f"mount: {words[4]}"


def cgroups():
    if os.readlink("/proc/self/ns/pid") != "pid:[4026531836]":
        return  # cannot tell whose they are: the first PID namespace, which has that number, may have other runs
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        if any(name in folder for name in NAMES):
            yield f"cgroup: {folder}"


def processes():
    """Those that a phase has started (HUGEXEC_PHASE in their environment) and that are no ancestors of ours."""
    ours, pid = set(), os.getpid()
    while pid > 1:
        ours.add(pid)
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            pid = int(environ.parent.name)
            if pid not in ours and f"HUGEXEC_PHASE={os.environ.get('HUGEXEC_PHASE', '-')}\0".encode() in environ.read_bytes():
                words = (environ.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield f"process: {pid} {words[:100]}"


def files():
    yield from perf_maps()
    for folder in {"/tmp", "/dev/shm", tempfile.gettempdir()}:
        for name in os.listdir(folder):
            if name.startswith("hugexec-") and name not in LOCKS:
                yield f"file: {folder}/{name}"


def perf_maps():
    """Those of processes that this phase has started (lib/started.py): other runs have files of that kind, too."""
    path = pathlib.Path(os.environ.get("HUGEXEC_STARTED", ""))
    if path.is_file():
        started, since = set(path.read_text().split()), pathlib.Path(sys.argv[1]).stat().st_mtime
        for name in os.listdir("/tmp"):
            found = re.fullmatch(r"perf-(\d+)\.map", name)
            with contextlib.suppress(OSError):
                if found and found[1] in started and os.lstat(f"/tmp/{name}").st_ctime > since:
                    yield f"file: /tmp/{name}"


def state():
    return sorted({*settings(), *devices(), *mounts(), *cgroups(), *processes(), *files()})


def is_in_use(line):
    """Names of what tests make hold the pid of their pytest: another may be at work beside this run."""
    return any(pathlib.Path("/proc", pid).exists() for pid in re.findall(r"(?:hugexec-[a-z-]+|/tmp/perf-)(\d+)", line))


def differences(before):
    now = state()
    yield from (f"left behind: {line}" for line in now if line not in before and not is_in_use(line))
    yield from (f"gone: {line}" for line in before if line not in now and not any(name in line for name in NAMES)
                and not line.startswith("process:"))


def have_crashed(number):
    """Whether the kernel's log has crashes after its record NUMBER, which are printed. Other runs' are not told from ours."""
    reason = kernel_log.why_not()
    if reason:
        print(f"not looked at: crashes of hugexec: {reason}")
    found = kernel_log.crashes_since(number)
    for line in found:
        print(f"crashed: {line}")
    return bool(found)


def main():
    known = pathlib.Path(sys.argv[1])
    if not known.exists():
        known.write_text(json.dumps({"state": state(), "log": kernel_log.position()}))
        return 0
    before = json.loads(known.read_text())
    crashed = have_crashed(before["log"])
    for _ in range(100):  # what has been ended may need a moment to be gone
        different = list(differences(before["state"]))
        if not different:
            return 1 if crashed else 0
        time.sleep(0.1)
    print("\n".join(different))
    return 1


if __name__ == "__main__":
    sys.exit(main())
