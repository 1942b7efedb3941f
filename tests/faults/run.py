# SPDX-License-Identifier: Apache-2.0
"""Each system call that hugexec makes, itself and in the workload, fails once with each error that it can return:

    run.py BUILD all            every call and error, in every launch mode
    run.py BUILD quick SECONDS [MODE;...]
                                as many as fit, those of the engine first; with modes, only in these and no reasons
    run.py BUILD reasons        only the reasons that are no failed call
    run.py BUILD only WAY ROLE CALL FAULT
                                all calls of one name, and one error: "only thp injected madvise ENOMEM"; or, of the
                                role "libc", all of one kind: "only thp libc malloc refused"

After each the workload's result must be that of a plain run: the same output of the probe (which prints all that a
process can know of itself, its children and files among it), the same status, nobody left behind. What may differ, and why,
is in ALLOWED. Prints a line for each mode; exit 1: something differed.
"""
import collections
import concurrent.futures
import contextlib
import errno
import os
import pathlib
import random
import signal
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import provoked_reasons
from errno_table import faults_of
from launch_modes import IN_CGROUP, LAUNCH_MODES, NO_FAULT, ONLY_CALLS, difference, launch_by_name
from tools import call_names, have_tools

import lib.surroundings  # noqa: F401  (the same as for all tests)
from lib.machine import POOL, take_hugetlb_pool


@contextlib.contextmanager
def pool(pages):
    """PAGES of the pool are free, also if the host keeps a pool of its own."""
    with take_hugetlb_pool(pages):
        yield
        free = int((POOL / "free_hugepages").read_text())
        assert free >= pages, f"only {free} of {pages} huge pages are free again"


def run_launch(launch, names, seconds, chance, only=None):
    """Returns (number of faults tried, number of calls, list of differences)."""
    calls = launch.recorded
    faults = [(*call, value) for call, argument in calls.items() for value in faults_of(call[0], names[call[1]], argument)]
    if launch.name in ONLY_CALLS:
        faults = [fault for fault in faults if names[fault[1]] in ONLY_CALLS[launch.name]]
    if only:
        role, name, word = only
        value = getattr(errno, word, None) or (f"{getattr(errno, word[:-1])}{word[-1]}" if word[-1] in "+*!" else word)
        faults = [(*call, value) for call in calls if (call[0], names[call[1]]) == (role, name)]
    if seconds:
        # Each kind of call in each role first, and the engine's before the others'; then what fits.
        chance.shuffle(faults)
        seen = collections.Counter()
        ranked = []
        for fault in faults:
            kind = fault[:2]
            seen[kind] += 1
            ranked.append((seen[kind], fault[0] not in ("injected", "tracer"), len(ranked), fault))
        faults = [fault for *_, fault in sorted(ranked)]
    deadline = time.monotonic() + seconds if seconds else None
    tried, different = 0, []

    def one(fault):
        if deadline and time.monotonic() > deadline:
            return None
        role, number, count, value = fault
        ours = launch.run([role, number, count, value], launch.ours)
        return fault, ours, launch.is_right(role, names[number], value, ours)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        for result in threads.map(one, faults):
            if result is None:
                continue
            tried += 1
            if not result[2]:
                different.append(result[:2])
    return tried, len(faults), len(calls), different


class Libc:
    """What malloc_fail.c shares with us: how many pieces of memory hugexec has asked for, and which is refused."""

    def __init__(self, folder):
        self.path = folder / "malloc_fail"
        self.environment = {"LD_PRELOAD": str(folder / "malloc_fail.so"), "MALLOC_FAIL": str(self.path)}

    def run(self, launch, refused):
        self.path.write_bytes(struct.pack("<QQ", 0, refused))
        self.path.chmod(0o666)
        ours = launch.run(NO_FAULT, launch.ours)
        return ours, struct.unpack("<QQ", self.path.read_bytes())[0]


def run_libc(launch, folder, seconds, chance, only=None):
    """As run_launch(), for memory that runs out, a piece at a time."""
    libc = Libc(folder)
    launch.preload = libc.environment
    launch.plain = launch.plain and launch.run(NO_FAULT, launch.program)
    pieces = max(libc.run(launch, 0)[1] for _ in range(2))
    faults = [("libc", "malloc", number, 0) for number in range(1, pieces + 1)]
    if seconds:
        chance.shuffle(faults)
    if only:
        faults = [fault for fault in faults if fault[1] == only[1]]
    deadline = time.monotonic() + seconds if seconds else None
    tried, different = 0, []
    for fault in faults:
        if deadline and time.monotonic() > deadline:
            break
        ours, _ = libc.run(launch, fault[2])
        tried += 1
        if not launch.is_right("libc", fault[1], "refused", ours):
            different.append((fault, ours))
    launch.preload = {}
    return tried, len(faults), pieces, different


def describe(launch, fault, ours, names):
    role, number, count, value = fault
    names = {number: number} if isinstance(number, str) else names
    how = os.strerror(value) if isinstance(value, int) and value else value
    return f"DIFFERENT {launch.name}: {role} {names[number]} number {count} fails with {how}: {difference(launch.plain, ours)}"


def tell(launch, different, names):
    for fault, ours in different[:20]:
        print(describe(launch, fault, ours, names), flush=True)
    return len(different)


@contextlib.contextmanager
def maps_removed():
    """Some launches have hugexec write /tmp/perf-PID.map, which would stay, and stand in the way of who gets that number next."""
    def there():
        return set(pathlib.Path("/tmp").glob("perf-*.map"))

    before = there()
    try:
        yield
    finally:
        for path in there() - before:
            if not pathlib.Path("/proc", path.name[len("perf-"):-len(".map")]).exists():
                with contextlib.suppress(OSError):
                    path.unlink()


def main():
    # Below a parent that takes no notice of it no wrapper is followed.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    build = pathlib.Path(sys.argv[1]).resolve()
    quick = sys.argv[2] == "quick"
    only = sys.argv[4:7] if sys.argv[2] == "only" else None
    modes = [] if sys.argv[2] == "reasons" else [sys.argv[3]] if only else sys.argv[4].split(";") if len(sys.argv) > 4 else list(LAUNCH_MODES)
    seconds = float(sys.argv[3]) / len(modes) if quick else 0
    failed = 0
    # The same every time, so that a commit is not refused by chance; FAULT_SEED chooses others.
    chance = random.Random(int(os.environ.get("FAULT_SEED", "0")))
    with tempfile.TemporaryDirectory(prefix=f"hugexec-faults-{os.getpid()}-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        have_tools(folder)
        names = call_names(folder)
        if len(sys.argv) <= 4:
            failed += provoked_reasons.run_all(folder, build, pool)
        for name in modes:
            launch = launch_by_name(name, folder, build, names)
            with contextlib.ExitStack() as stack:
                stack.enter_context(maps_removed())
                if "hugetlb" in LAUNCH_MODES[name][1]:
                    stack.enter_context(pool(16))
                if name in IN_CGROUP:
                    launch.surroundings = stack.enter_context(provoked_reasons.cgroup(IN_CGROUP[name]))
                if launch.surroundings is None:
                    print(f"passed over: faults, {name}: no such cgroup can be had here")
                    continue
                launch.record()
                if not only or only[0] != "libc":
                    tried, faults, calls, different = run_launch(launch, names, seconds * 0.9, chance, only)
                    print(f"faults, {name}: {calls} calls, {tried} of {faults} failures tried, {len(different)} results differ", flush=True)
                    failed += tell(launch, different, names)
                if (not only and name not in ONLY_CALLS) or (only and only[0] == "libc"):
                    tried, faults, pieces, different = run_libc(launch, folder, seconds * 0.1, chance, only)
                    print(f"memory, {name}: {pieces} pieces, {tried} of {faults} failures tried, {len(different)} results differ", flush=True)
                    failed += tell(launch, different, names)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
